//! Being found: adverts in the markets that renters read.
//!
//! ```text
//!   arkiv      entities with annotations on a network of Golem Base or Arkiv: advert, codecs, client
//!   discovery  adverts on a discovery server: their form, the client that posts them, the database of a server
//! ```
//! Owns what an advert says in each market, how it is asked for and written, and what a stranger's is worth. Never
//! decides when a node advertises, or what (`golem-node` does).

pub mod arkiv;
pub mod discovery;
pub mod survey;
