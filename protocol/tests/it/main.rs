//! The transport over loopback, with real certificates and real endpoints.

mod certificates;
mod datagrams;
mod frames;
mod handshake;
mod raw;
mod role_table;
mod site;
mod streams;
