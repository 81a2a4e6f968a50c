//! Sessions of the core over real connections, in one process.
