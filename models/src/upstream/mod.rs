//! The originals as machines, behaviour by behaviour, flaws included.
