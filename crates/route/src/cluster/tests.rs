//! Each rule of the cluster, one by one.

mod health;
mod members;
mod pace;
mod positions;
mod roles;
