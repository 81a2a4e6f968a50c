//! What the tests share: a site of real processes, a camera whose pictures are known, a bad network, and the demo made of them.

pub mod demo;
pub mod fleet;
pub mod harness;
pub mod impairment;
pub mod test_camera;
