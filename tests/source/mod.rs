//! What is promised about the source itself.

mod imports;
