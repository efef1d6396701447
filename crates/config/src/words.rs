//! Lists whose elements are words: `a:1, b:2 weight=3, host='/run/my dir'`.
//!
//! Commas part elements and blanks part words, but for what stands in single quotes, in which two
//! quotes are one. So a value with any characters in it can be written, and read back.

use std::borrow::Cow;

const QUOTE: char = '\'';

/// The elements of `text`, each as its words without their quotes; none is empty. `None` if a
/// quote is not closed.
pub(crate) fn elements(text: &str) -> Option<Vec<Vec<String>>> {
    let mut elements = Vec::new();
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            QUOTE if quoted && rest.peek() == Some(&QUOTE) => {
                rest.next();
                word.get_or_insert_default().push(QUOTE);
            }
            QUOTE => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ',' if !quoted => {
                words.extend(word.take());
                elements.push(std::mem::take(&mut words));
            }
            blank if blank.is_whitespace() && !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    if quoted {
        return None;
    }
    words.extend(word);
    elements.push(words);
    elements.retain(|words| !words.is_empty());
    Some(elements)
}

/// `text` as a word, or as the end of one, in quotes if it needs them.
pub(crate) fn quote(text: &str) -> Cow<'_, str> {
    let special = |c: char| c == ',' || c == QUOTE || c.is_whitespace();
    if text.is_empty() || text.contains(special) {
        Cow::Owned(format!("'{}'", text.replace(QUOTE, "''")))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn commas_part_elements_and_blanks_part_words_outside_quotes() {
        let cases: [(&str, Option<&[&[&str]]>); 7] = [
            ("", Some(&[])),
            (" , ", Some(&[])),
            ("a", Some(&[&["a"]])),
            ("a  b=1,c ,", Some(&[&["a", "b=1"], &["c"]])),
            ("'a, b':1 z='it''s'", Some(&[&["a, b:1", "z=it's"]])),
            ("z=''", Some(&[&["z="]])),
            ("a, 'b", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|elements| {
                let owned = |words: &&[&str]| words.iter().map(|&word| word.to_owned()).collect();
                elements.iter().map(owned).collect::<Vec<Vec<String>>>()
            });
            assert_eq!(elements(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_in_quotes_is_one_word_that_reads_back(text: String) {
            let list = format!("a, key={} b", quote(&text));
            let expected = vec![
                vec!["a".to_owned()],
                vec![format!("key={text}"), "b".to_owned()],
            ];
            prop_assert_eq!(elements(&list), Some(expected));
        }
    }
}
