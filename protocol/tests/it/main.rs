//! The transport over loopback, with real certificates and real endpoints.

mod certificates;
mod datagrams;
mod dialling;
mod frames;
mod handshake;
mod join;
mod raw;
mod role_table;
mod site;
mod spelled_out;
mod streams;
mod trust;
