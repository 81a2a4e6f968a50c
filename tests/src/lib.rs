//! What the tests share: a site of real processes, a camera whose pictures are known, and the demo made of both.

pub mod demo;
pub mod fleet;
pub mod harness;
pub mod test_camera;
