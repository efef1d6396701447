//! What a client has done to its session is there after a restart.
