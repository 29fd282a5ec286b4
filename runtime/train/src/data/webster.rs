//! The embedded data set: the public-domain Webster's dictionary of the crate `webster`, packed by the build script.

use std::io::Read;
use std::sync::OnceLock;

/// The dictionary as one text of about 8.6 MB: for each entry, in the order of headwords, a line with the headword in capitals and a line
/// with the definition.
///
/// # Panics
/// Never, unless the program file is damaged.
pub fn webster() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let packed: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/webster.gz"));
        let mut text = String::new();
        match flate2::read::GzDecoder::new(packed).read_to_string(&mut text) {
            Ok(_) => text,
            Err(why) => panic!("a fault in ogive: the embedded dictionary does not unpack: {why}"),
        }
    })
}
