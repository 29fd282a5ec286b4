//! What other programs may use of the command line: specs at any stage of compilation, as text, for snapshots in a project's own tests.

pub mod stages;

/// Compares a spec at a stage with an insta snapshot of the calling test. The calling crate needs `insta`.
///
/// ```no_run
/// # macro_rules! assert_snapshot { ($($t:tt)*) => {} }
/// // in a test, with `insta` among the dev-dependencies:
/// // ogive::assert_spec_snapshot!("specs/my_model.arch", Elaborate);
/// let text = ogive::stages::of_file("specs/my_model.arch".as_ref(), ogive::stages::Stage::Elaborate).unwrap();
/// assert_snapshot!(text);
/// ```
#[macro_export]
macro_rules! assert_spec_snapshot {
    ($path:expr, $stage:ident) => {
        match $crate::stages::of_file(::std::path::Path::new($path), $crate::stages::Stage::$stage) {
            Ok(text) => ::insta::assert_snapshot!(text),
            Err(why) => panic!("{}: {why}", $path),
        }
    };
}
