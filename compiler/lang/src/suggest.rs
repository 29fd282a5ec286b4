//! "Did you mean": the nearest known name, for every kind of name.

/// The candidate nearest to `name`, where at most a third of the longer name differs.
///
/// Swapped neighbours count as one difference, case does not count. Of equally near ones that wins which starts like `name` for longer, then
/// the first, so the answer depends on nothing but the order of the candidates. A candidate equal to `name` is never an answer.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.is_empty() || name.len() > 80 {
        return None;
    }
    let lower = name.to_lowercase();
    let mut best: Option<((usize, std::cmp::Reverse<usize>), &str)> = None;
    for candidate in candidates.into_iter().filter(|c| *c != name && !c.is_empty() && c.len() <= 80) {
        let other = candidate.to_lowercase();
        let distance = strsim::osa_distance(&lower, &other);
        let alike = std::cmp::Reverse(lower.chars().zip(other.chars()).take_while(|(a, b)| a == b).count());
        let allowed = (name.chars().count().max(candidate.chars().count()) / 3).max(1);
        let whole = name.chars().count().min(candidate.chars().count());
        if distance <= allowed && distance < whole && best.is_none_or(|(d, _)| (distance, alike) < d) {
            best = Some(((distance, alike), candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// The help line of an unknown name: "did you mean `model`?", else the names there are, else nothing.
///
/// `kind` is the plural of what is listed: "dims", "settings".
pub fn help<'a>(name: &str, kind: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let all: Vec<&str> = candidates.into_iter().collect();
    if let Some(near) = nearest(name, all.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    match all.len() {
        0 => None,
        1..=12 => Some(format!("the {kind} here: {}", list(&all))),
        n => Some(format!("the {kind} here: {}, and {} more", list(&all[..10]), n - 10)),
    }
}

/// `` `a`, `b`, `c` ``.
pub fn list(names: &[&str]) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_letter_is_corrected() {
        assert_eq!(nearest("modle", ["model", "mode_size"]), Some("model"));
        assert_eq!(nearest("layer_nrom", ["rms_norm", "layer_norm"]), Some("layer_norm"));
        assert_eq!(nearest("wq", ["Wk", "Wq"]), Some("Wq"));
        assert_eq!(nearest("rop", ["drop", "rope"]), Some("rope"));
    }

    #[test]
    fn a_far_name_is_not_suggested() {
        assert_eq!(nearest("encoder", ["model", "seq"]), None);
        assert_eq!(nearest("x", ["y", "z"]), None);
        assert_eq!(nearest("", ["y"]), None);
    }

    #[test]
    fn where_nothing_is_near_the_choice_is_listed() {
        assert_eq!(help("lr", "settings", ["model", "data"]).as_deref(), Some("the settings here: `model`, `data`"));
        assert_eq!(help("lr", "settings", []), None);
    }
}
