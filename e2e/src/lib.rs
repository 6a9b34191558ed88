//! Starts the real binaries for the end-to-end tests.
