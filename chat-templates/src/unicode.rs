//! What Python says of a character, where Rust's own methods say something else.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

/// Ranges of characters, in order.
struct Ranges(Vec<(char, char)>);

impl Ranges {
    fn new(class: &str) -> Ranges {
        let parsed = regex_syntax::parse(class).expect("a class of characters");
        match parsed.kind() {
            HirKind::Class(Class::Unicode(class)) => Ranges(
                class
                    .ranges()
                    .iter()
                    .map(|r| (r.start(), r.end()))
                    .collect(),
            ),
            _ => Ranges(Vec::new()),
        }
    }

    fn contains(&self, c: char) -> bool {
        let at = self.0.partition_point(|&(_, end)| end < c);
        self.0.get(at).is_some_and(|&(start, _)| start <= c)
    }
}

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident = $class:literal;)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name(c: char) -> bool {
            static RANGES: LazyLock<Ranges> = LazyLock::new(|| Ranges::new($class));
            RANGES.contains(c)
        }
    )*};
}

classes! {
    /// `str.isalpha` of one character.
    is_alpha = r"\p{L}";
    /// `str.isdecimal` of one character.
    is_decimal = r"\p{Nd}";
    /// `str.isdigit` of one character: decimals, and digits that are raised, lowered or framed.
    is_digit = r"[\p{Nd}²³¹፩-፱᧚⁰⁴-⁹₀-₉①-⑨⑴-⑼⒈-⒐⓪⓵-⓽⓿❶-❾➀-➈➊-➒𐩀-𐩃𐹠-𐹨𑁒-𑁚🄀-🄊]";
    /// `str.isnumeric` of one character.
    is_numeric = r"[\p{N}㐅㒃㠪㭍一七三九二五亖亿什仟仨伍佰億兆兩八六十千卄卅卌叁参參叄四壱壹幺廾廿弌弍弎弐拾捌柒漆玖百肆萬貮貳贰陆陌陸零阡万]";
    /// Characters that `repr` escapes: controls, formats, unassigned ones, blanks but the space.
    is_unprintable = r"[[\p{C}\p{Z}]--\x20]";
}

/// `str.isspace` of one character; what `strip` and `split` go by.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// Whether a letter has a case, after which `str.title` goes on in small letters.
pub(crate) fn is_cased(c: char) -> bool {
    c.is_lowercase()
        || c.is_uppercase()
        || matches!(c, 'ǅ' | 'ǈ' | 'ǋ' | 'ǲ' | 'ᾈ'..='ᾏ' | 'ᾘ'..='ᾟ' | 'ᾨ'..='ᾯ' | 'ᾼ' | 'ῌ' | 'ῼ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_pythons() {
        assert!(is_alpha('é') && is_alpha('本') && !is_alpha('ⅷ') && !is_alpha('1'));
        assert!(is_digit('²') && is_digit('٣') && !is_digit('½'));
        assert!(is_numeric('½') && is_numeric('三') && !is_numeric('x'));
        assert!(is_decimal('٣') && !is_decimal('²'));
        assert!(is_unprintable('\u{200b}') && is_unprintable('\u{a0}') && !is_unprintable(' '));
        assert!(is_space('\x1f') && is_space('\u{3000}') && !is_space('\u{200b}'));
    }
}
