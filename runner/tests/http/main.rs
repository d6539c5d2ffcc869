//! The HTTP/1.1 client codec, from the outside: what users rely on, every malformation, hyper as
//! the oracle, and inputs that nobody would send.
//!
//! The modules say `cfg(test)` so that clippy knows their helpers for test code.

#[cfg(test)]
mod bytes;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod endless;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod headers;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod outcome;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod splits;
#[cfg(test)]
mod table;
