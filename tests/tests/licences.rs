//! What the program is built from may be given on: every package has a licence of the list, or a choice of which one is.

use std::process::Command;

/// Licences that ask for no more than a notice.
const GOOD: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "0BSD",
];

/// Whether an expression of licences can be met: `/` is the old way to write `OR`.
fn met(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ");
    let one = |name: &str| GOOD.contains(&name.trim());
    // `(A OR B) AND C`: without the brackets `A OR B AND C`, and met where each part between ANDs is.
    plain.split(" AND ").all(|part| part.split(" OR ").any(one))
}

#[test]
fn every_package_has_a_licence_of_the_list() {
    let host = Command::new("rustc").arg("-vV").output().expect("rustc");
    let host = String::from_utf8_lossy(&host.stdout).lines().find_map(|l| l.strip_prefix("host: ").map(str::to_owned)).expect("a host");
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", &host];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 100, "only {} packages", packages.len());
    for package in packages {
        let licence = package["license"].as_str().unwrap_or("none");
        assert!(met(licence), "{} {}: {licence}", package["name"], package["version"]);
    }
}

#[test]
fn a_choice_is_met_by_one_and_a_sum_by_all() {
    assert!(met("GPL-3.0 OR MIT") && met("MIT/Apache-2.0") && met("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(!met("GPL-3.0") && !met("MIT AND GPL-3.0") && !met("none"));
}
