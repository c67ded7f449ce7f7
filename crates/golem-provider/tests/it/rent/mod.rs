//! `golem-provider rent` with the true node and a real EVM: what a renter sees and pays, to the wei, and
//! what is left of a renter that is killed at any step.
mod agree;
mod find;
mod killed;
mod leased;
mod leased_bad;
mod refused;
mod stuck;
mod walk;
mod world;
