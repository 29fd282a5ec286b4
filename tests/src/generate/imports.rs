//! One spec in several files: what it means does not depend on where its blocks stand.

use super::chance::Chance;
use super::program::words;
use ogive_lang::Loader;
use std::collections::{BTreeMap, BTreeSet};

/// Files by name.
pub(super) struct Files(BTreeMap<String, String>);

impl Loader for Files {
    fn load(&self, from: &str, path: &str) -> Result<(String, String), String> {
        let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
        let name = if folder.is_empty() { path.to_owned() } else { format!("{folder}/{path}") };
        let text = self.0.get(&name).cloned().ok_or_else(|| format!("no file `{name}`"))?;
        Ok((name, text))
    }
}

/// The name of an item.
fn name(item: &str) -> &str {
    let head = item.lines().find(|l| !l.starts_with("//") && !l.is_empty()).unwrap_or_default();
    head.split([' ', '[', '(', '{']).nth(1).unwrap_or_default()
}

/// Imports of `wanted` from the files in which they stand, of which each is imported by name or as a whole.
fn imports(wanted: &BTreeSet<&str>, file: impl Fn(&str) -> String, chance: &mut Chance) -> String {
    let mut by_file: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for &name in wanted {
        by_file.entry(file(name)).or_default().push(name);
    }
    let line = |(file, names): (String, Vec<&str>)| {
        if chance.percent(30) { format!("import \"{file}\"\n") } else { format!("import {} from \"{file}\"\n", names.join(", ")) }
    };
    by_file.into_iter().map(line).collect::<String>()
}

/// The text with the blocks that others call in files of their own, or all in one; `None` where there is no such block.
pub(super) fn apart(text: &str, root: &str, chance: &mut Chance) -> Option<(String, Files)> {
    let items: Vec<&str> = text.split("\n\n").collect();
    let stays = |item: &&&str| name(item) == root || item.contains("experiment ");
    let (own, called): (Vec<&str>, Vec<&str>) = items.iter().partition(stays);
    if called.is_empty() || items.iter().any(|i| name(i).is_empty()) {
        return None;
    }
    let names: BTreeSet<&str> = called.iter().map(|i| name(i)).collect();
    let uses = |item: &str| {
        let own = name(item);
        let found: BTreeSet<&str> = words(item).filter_map(|w| names.get(w).copied()).filter(|n| *n != own).collect();
        found
    };
    let mut files = BTreeMap::new();
    let all_in_one = chance.percent(40);
    for item in &called {
        let (file, before) = if all_in_one {
            ("parts/all.arch".to_owned(), String::new())
        } else {
            (format!("parts/{}.arch", name(item)), imports(&uses(item), |n| format!("{n}.arch"), chance))
        };
        let text: &mut String = files.entry(file).or_default();
        text.push_str(&format!("{before}\n{item}\n"));
    }
    let wanted: BTreeSet<&str> = own.iter().flat_map(|i| uses(i)).collect();
    let place = |n: &str| if all_in_one { "parts/all.arch".to_owned() } else { format!("parts/{n}.arch") };
    Some((format!("{}\n{}\n", imports(&wanted, place, chance), own.join("\n\n")), Files(files)))
}
