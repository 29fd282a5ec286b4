//! The page of each diagnostic code: a spec that fails, what ogive saw, the repaired spec, and why the rule exists.

use crate::{codes, suggest};

mod pages {
    include!(concat!(env!("OUT_DIR"), "/pages.rs"));
}

/// The page of a code, in Markdown.
pub fn page(code: &str) -> Option<&'static str> {
    pages::PAGES.iter().find(|(c, _)| *c == code).map(|(_, page)| *page)
}

/// All codes with one line each, by family.
pub fn codes() -> impl Iterator<Item = (&'static str, &'static str)> {
    codes::ALL.iter().copied()
}

/// The full code for what a person types: `arch::shape::not_subset`, `shape::not_subset` or `not_subset` where only one code ends so.
/// Otherwise the nearest code, if any.
pub fn find(typed: &str) -> Result<&'static str, Option<&'static str>> {
    let all = || codes::ALL.iter().map(|(code, _)| *code);
    let mut fits = all().filter(|code| *code == typed || code.strip_suffix(typed).is_some_and(|head| head.ends_with("::")));
    match (fits.next(), fits.next()) {
        (Some(only), None) => Ok(only),
        (Some(first), Some(_)) => Err(Some(first)),
        (None, _) => Err(suggest::nearest(typed, all()).or_else(|| {
            let last = typed.rsplit("::").next().unwrap_or(typed);
            let name = suggest::nearest(last, all().filter_map(|c| c.rsplit("::").next()))?;
            all().find(|c| c.rsplit("::").next() == Some(name))
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_by_its_end() {
        assert_eq!(find("not_subset"), Ok("arch::shape::not_subset"));
        assert_eq!(find("shape::not_subset"), Ok("arch::shape::not_subset"));
        assert_eq!(find("not_subst"), Err(Some("arch::shape::not_subset")));
        assert_eq!(find("zzz"), Err(None));
    }

    #[test]
    fn a_code_with_two_families_is_not_guessed() {
        assert!(matches!(find("too_large"), Err(Some(_))));
    }
}
