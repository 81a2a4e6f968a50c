//! Range: which bytes of a file are asked for (RFC 9110, 14). Pure.

/// From the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub first: u64,
    pub last: u64,
}

impl Part {
    pub fn bytes(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// `None`: all of it. So it is where the header is not understood, or asks for several parts: a server may answer with the
/// whole. An error: there is no such part.
pub(super) fn part(header: Option<&str>, bytes: u64) -> Result<Option<Part>, ()> {
    let Some(spec) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else { return Ok(None) };
    let Some((first, last)) = spec.trim().split_once('-').filter(|_| !spec.contains(',')) else { return Ok(None) };
    let number =
        |text: &str| text.trim().parse::<u64>().ok().filter(|_| text.trim().bytes().all(|b| b.is_ascii_digit()));
    match (first.trim(), last.trim()) {
        ("", suffix) => match number(suffix) {
            Some(0) => Err(()),
            Some(_) if bytes == 0 => Err(()),
            Some(count) => Ok(Some(Part { first: bytes.saturating_sub(count), last: bytes - 1 })),
            None => Ok(None),
        },
        (first, "") => match number(first) {
            Some(first) if first < bytes => Ok(Some(Part { first, last: bytes - 1 })),
            Some(_) => Err(()),
            None => Ok(None),
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first > last => Ok(None),
            (Some(first), Some(last)) if first < bytes => Ok(Some(Part { first, last: last.min(bytes - 1) })),
            (Some(_), Some(_)) => Err(()),
            _ => Ok(None),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(header: &str, bytes: u64, expected: Result<Option<(u64, u64)>, ()>) {
        let found = part(Some(header), bytes).map(|part| part.map(|part| (part.first, part.last)));
        assert_eq!(found, expected, "{header} of {bytes}");
    }

    #[test]
    fn a_part_is_cut_at_the_end_and_one_beyond_it_is_refused() {
        check("bytes=0-99", 1000, Ok(Some((0, 99))));
        check("bytes=900-", 1000, Ok(Some((900, 999))));
        check("bytes=900-5000", 1000, Ok(Some((900, 999))));
        check("bytes=-100", 1000, Ok(Some((900, 999))));
        check("bytes=-5000", 1000, Ok(Some((0, 999))));
        check("bytes=1000-", 1000, Err(()));
        check("bytes=1000-1001", 1000, Err(()));
        check("bytes=-0", 1000, Err(()));
        check("bytes=0-", 0, Err(()));
        check("bytes=-1", 0, Err(()));
    }

    #[test]
    fn what_is_not_understood_gets_the_whole() {
        for header in [
            "bytes=",
            "bytes=a-b",
            "items=0-1",
            "bytes=5-2",
            "bytes=0-1,5-6",
            "bytes=+1-2",
            "bytes=99999999999999999999-",
        ] {
            check(header, 1000, Ok(None));
        }
        assert_eq!(part(None, 1000), Ok(None));
    }

    proptest! {
        #[test]
        fn a_part_is_inside_whatever_is_asked(text in "bytes=[0-9]{0,21}-[0-9]{0,21}", bytes in 0_u64..10_000) {
            if let Ok(Some(part)) = part(Some(&text), bytes) {
                prop_assert!(part.first <= part.last && part.last < bytes);
                prop_assert!(part.bytes() <= bytes);
            }
        }
    }
}
