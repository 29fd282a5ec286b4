//! From syntax to HIR: dims are bound, blocks instantiated, every expression typed. All independent errors are reported.

pub mod settings;

pub use settings::Settings;
