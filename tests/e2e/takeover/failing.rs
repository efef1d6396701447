//! What can go wrong on the way, and that nobody notices then, either.
