//! The operator's colour and its shades: readable on light pages as it is, and on dark pages in a lighter shade (WCAG
//! 2.2, 1.4.3 and 1.4.11).

use std::fmt;

/// A colour in sRGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rgb(pub(crate) [u8; 3]);

/// The background of light pages, as in `gateway.css`. Cards on them are lighter.
pub(crate) const LIGHT_PAGE: Rgb = Rgb([0xf5, 0xf6, 0xf8]);
/// The background of cards on dark pages, as in `gateway.css`. The pages are darker.
pub(crate) const DARK_CARD: Rgb = Rgb([0x17, 0x1b, 0x22]);

const WHITE: Rgb = Rgb([0xff; 3]);
const BLACK: Rgb = Rgb([0; 3]);

/// The contrast that text needs (WCAG 2.2, 1.4.3, level AA).
pub(crate) const ENOUGH: f64 = 4.5;
/// The contrast of the lighter shade on dark pages, where the exact colour matters less.
const ENOUGH_ON_DARK: f64 = 6.0;

impl Rgb {
    /// Parses `#rrggbb`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6)?;
        let mut rgb = [0; 3];
        hex::decode_to_slice(digits, &mut rgb).ok()?;
        Some(Self(rgb))
    }

    /// Six hexadecimal digits.
    pub(crate) fn digits(self) -> String {
        hex::encode(self.0)
    }

    /// Relative luminance (WCAG 2.2).
    fn luminance(self) -> f64 {
        let linear = self.0.map(|channel| {
            let channel = f64::from(channel) / 255.0;
            if channel <= 0.04045 {
                channel / 12.92
            } else {
                ((channel + 0.055) / 1.055).powf(2.4)
            }
        });
        let [red, green, blue] = linear;
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    /// Contrast ratio (WCAG 2.2), from 1 to 21.
    pub(crate) fn contrast(self, other: Self) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// Mixes in `parts` of 100 of another colour.
    fn mixed(self, other: Self, parts: u16) -> Self {
        let mut mixed = self.0;
        for (channel, other) in mixed.iter_mut().zip(other.0) {
            let sum = u16::from(*channel) * (100 - parts) + u16::from(other) * parts;
            *channel = u8::try_from((sum + 50) / 100).unwrap_or(u8::MAX);
        }
        Self(mixed)
    }

    /// The first shade towards `other` with enough contrast to `background`.
    fn shade(self, other: Self, background: Self, enough: f64) -> Self {
        (0..=100)
            .map(|parts| self.mixed(other, parts))
            .find(|shade| shade.contrast(background) >= enough)
            .unwrap_or(other)
    }

    /// Whether text in this colour is readable on light pages.
    pub(crate) fn is_readable(self) -> bool {
        self.contrast(LIGHT_PAGE) >= ENOUGH
    }

    /// The nearest darker shade that is readable on light pages.
    pub(crate) fn readable(self) -> Self {
        self.shade(BLACK, LIGHT_PAGE, ENOUGH)
    }

    /// The style sheet's variables for this accent.
    pub(crate) fn variables(self) -> String {
        let dark = self.shade(WHITE, DARK_CARD, ENOUGH_ON_DARK);
        let set = |accent: Self, hover: Self, soft: Self| {
            format!(":root {{ --accent: {accent}; --accent-hover: {hover}; --accent-soft: {soft}; }}")
        };
        format!(
            "\n{}\n@media (prefers-color-scheme: dark) {{ {} }}\n",
            set(self, self.mixed(BLACK, 15), self.mixed(WHITE, 92)),
            set(dark, dark.mixed(WHITE, 20), DARK_CARD.mixed(dark, 12)),
        )
    }
}

impl fmt::Display for Rgb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.digits())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{BLACK, DARK_CARD, ENOUGH, LIGHT_PAGE, Rgb, WHITE};
    use crate::pages::CSS;

    #[test]
    fn contrast_matches_the_guidelines() {
        assert!((BLACK.contrast(WHITE) - 21.0).abs() < 1e-9);
        let grey = Rgb::parse("#777777").unwrap();
        assert!(
            (grey.contrast(WHITE) - 4.478).abs() < 0.001,
            "{}",
            grey.contrast(WHITE)
        );
    }

    #[test]
    fn colours_are_six_digits() {
        assert_eq!(Rgb::parse("#2456C5").unwrap().to_string(), "#2456c5");
        for wrong in ["2456c5", "#25c", "#2456c5ff", "#2456cg", "blue", "", "#é56c5"] {
            assert_eq!(Rgb::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_style_sheet_has_the_backgrounds_that_contrast_assumes() {
        assert!(CSS.contains(&format!("--page: {LIGHT_PAGE};")));
        assert!(CSS.contains(&format!("--card: {DARK_CARD};")));
    }

    proptest! {
        #[test]
        fn every_colour_has_readable_shades(rgb in any::<[u8; 3]>()) {
            let readable = Rgb(rgb).readable();
            assert!(readable.is_readable());
            // White text on it, and itself on a card.
            assert!(readable.contrast(WHITE) >= ENOUGH);
            let shades: Vec<Rgb> = readable
                .variables()
                .split(|c: char| c != '#' && !c.is_ascii_hexdigit())
                .filter_map(Rgb::parse)
                .collect();
            let [light, light_hover, _, dark, dark_hover, _] = shades[..] else { panic!("{shades:?}") };
            for (shade, on) in [(light, WHITE), (light_hover, WHITE), (dark, DARK_CARD), (dark_hover, DARK_CARD)] {
                assert!(shade.contrast(on) >= ENOUGH, "{shade} {on}");
            }
        }
    }
}
