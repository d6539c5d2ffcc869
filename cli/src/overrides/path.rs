//! Paths of fields: `spec.scenarios[0].load`, `spec.scenarios[browse].load`.

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<'a> {
    /// Member of a mapping.
    Member(&'a str),
    /// Item of a list, from 0.
    Index(usize),
    /// Item of a list, by its `name`.
    Named(&'a str),
}

/// Takes a path apart.
///
/// # Errors
/// What is wrong with it.
pub fn parse(path: &str) -> Result<Vec<Part<'_>>, String> {
    let wrong = || format!("{path:?} is no path: write it like spec.scenarios[0].load");
    let mut parts = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (item, after) = inside.split_once(']').ok_or_else(wrong)?;
            if item.is_empty() || parts.is_empty() {
                return Err(wrong());
            }
            parts.push(item.parse().map_or(Part::Named(item), Part::Index));
            rest = after;
            continue;
        }
        let inside = match rest.strip_prefix('.') {
            Some(inside) if !parts.is_empty() => inside,
            None if parts.is_empty() => rest,
            _ => return Err(wrong()),
        };
        let end = inside.find(['.', '[']).unwrap_or(inside.len());
        let (member, after) = inside.split_at(end);
        if member.is_empty() {
            return Err(wrong());
        }
        parts.push(Part::Member(member));
        rest = after;
    }
    if parts.is_empty() {
        Err(wrong())
    } else {
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_indexes_and_names() {
        assert_eq!(
            parse("spec.scenarios[browse].tasks[0].weight"),
            Ok(vec![
                Part::Member("spec"),
                Part::Member("scenarios"),
                Part::Named("browse"),
                Part::Member("tasks"),
                Part::Index(0),
                Part::Member("weight"),
            ])
        );
        for wrong in [
            "", ".spec", "spec.", "spec..a", "spec[", "spec[]", "[0]", "spec[0]a",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
