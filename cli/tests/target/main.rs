//! `loadtest target`, as a process: what it answers, what it counts, how it begins and ends.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod client;
#[cfg(test)]
mod life;
#[cfg(test)]
mod tls;
