//! The operator's name, logo and colour.

use bytes::Bytes;
use hyper::header::HeaderValue;
use sha2::{Digest as _, Sha256};

use super::CSS;
use super::colour::Rgb;

pub(crate) const NAME: &str = "Auth gateway";

pub(crate) const ACCENT: Rgb = Rgb([0x2b, 0x59, 0xc3]);

/// In bytes.
pub(crate) const MAX_LOGO: usize = 256 << 10;
/// In pixels.
const MAX_SIDE: u32 = 4096;

#[derive(Clone, Debug)]
pub struct Branding {
    /// At the top of each page and in its title.
    pub(crate) name: String,
    pub(crate) logo: Option<Logo>,
    /// The colour of buttons and links on light pages.
    pub(crate) accent: Rgb,
    /// The style sheet, with the colour.
    pub(crate) css: Bytes,
    /// A digest of the style sheet, for its address.
    pub(crate) css_version: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Logo {
    pub(crate) content_type: HeaderValue,
    pub(crate) bytes: Bytes,
    /// A digest of the file, for its address.
    pub(crate) version: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LogoError {
    #[error("the file must have at most 256 KiB")]
    TooLarge,
    #[error("the file must be an SVG or a PNG picture")]
    Type,
    /// A larger picture takes too much memory to show.
    #[error("the picture must have at most 4,096 pixels a side")]
    Pixels,
}

impl Default for Branding {
    fn default() -> Self {
        Self::new(NAME.to_owned(), None, ACCENT)
    }
}

impl Branding {
    pub(crate) fn new(name: String, logo: Option<Logo>, accent: Rgb) -> Self {
        let css = format!("{CSS}{}", accent.variables());
        Self {
            name,
            logo,
            accent,
            css_version: version(css.as_bytes()),
            css: css.into(),
        }
    }
}

impl Logo {
    /// Detects the type from the contents.
    pub(crate) fn new(bytes: Vec<u8>) -> Result<Self, LogoError> {
        if bytes.len() > MAX_LOGO {
            return Err(LogoError::TooLarge);
        }
        let content_type = if let Some([width, height]) = png(&bytes) {
            if width.max(height) > MAX_SIDE {
                return Err(LogoError::Pixels);
            }
            HeaderValue::from_static("image/png")
        } else if is_svg(&bytes) {
            HeaderValue::from_static("image/svg+xml")
        } else {
            return Err(LogoError::Type);
        };
        Ok(Self {
            content_type,
            version: version(&bytes),
            bytes: bytes.into(),
        })
    }
}

/// Width and height from a PNG's header (PNG, third edition, sections 5.2 and 11.2.1).
fn png(bytes: &[u8]) -> Option<[u32; 2]> {
    let header = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")?;
    let (width, rest) = header.split_first_chunk()?;
    let (height, _) = rest.split_first_chunk()?;
    Some([u32::from_be_bytes(*width), u32::from_be_bytes(*height)])
}

/// Whether the root element is `svg`, after a prolog.
fn is_svg(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    loop {
        let end = match rest {
            _ if rest.starts_with("<?") => "?>",
            _ if rest.starts_with("<!--") => "-->",
            _ if rest.starts_with("<!DOCTYPE") => ">",
            _ => break,
        };
        let Some((_, after)) = rest.split_once(end) else {
            return false;
        };
        rest = after.trim_start();
    }
    rest.strip_prefix("<svg")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_whitespace() || c == '>'))
}

fn version(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    hex::encode(digest.get(..6).unwrap_or(&digest))
}

#[cfg(test)]
mod tests {
    use super::{Branding, Logo, LogoError, MAX_LOGO};
    use crate::pages::colour::Rgb;

    #[test]
    fn a_logo_is_an_svg_or_a_png_of_bounded_size() {
        let png = |side: u32| {
            let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
            bytes.extend(side.to_be_bytes());
            bytes.extend(8u32.to_be_bytes());
            bytes
        };
        assert_eq!(Logo::new(png(8)).unwrap().content_type, "image/png");
        assert_eq!(Logo::new(png(4097)), Err(LogoError::Pixels));
        for svg in [
            "<svg xmlns='http://www.w3.org/2000/svg'/>",
            "\u{feff}<?xml version=\"1.0\"?>\n<!-- a > b -->\n<!DOCTYPE svg PUBLIC \"a\" \"b\">\n<svg>",
        ] {
            assert_eq!(Logo::new(svg.into()).unwrap().content_type, "image/svg+xml");
        }
        for other in ["", "<html><svg>", "<svgx>", "GIF89a", "<!-- <svg>", "\u{89}PNG"] {
            assert_eq!(Logo::new(other.into()), Err(LogoError::Type), "{other}");
        }
        let large = "<svg>".to_owned() + &" ".repeat(MAX_LOGO);
        assert_eq!(Logo::new(large.into()), Err(LogoError::TooLarge));
    }

    #[test]
    fn the_style_sheet_has_the_colour_and_its_own_version() {
        let plain = Branding::default();
        let green = Branding::new("Acme".into(), None, Rgb::parse("#0a6640").unwrap());
        assert!(String::from_utf8_lossy(&green.css).contains("--accent: #0a6640;"));
        assert_ne!(plain.css_version, green.css_version);
    }
}
