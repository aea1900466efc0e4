//! PEM as operators paste it: from files, from environment variables, with `\n` written out.

use super::PemError;
use zeroize::Zeroizing;

/// The contents of a PEM block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// `PRIVATE KEY`: PKCS#8 (RFC 5958).
    Pkcs8,
    /// `RSA PRIVATE KEY`: PKCS#1 (RFC 8017 appendix A.1.2).
    Pkcs1,
    /// `EC PRIVATE KEY`: SEC 1 (RFC 5915).
    Sec1,
    /// `PUBLIC KEY`: SubjectPublicKeyInfo (RFC 5280 section 4.1).
    Spki,
    /// `RSA PUBLIC KEY`: PKCS#1 (RFC 8017 appendix A.1.1).
    Pkcs1Public,
    /// Something else.
    Other,
}

/// Returns the first block that is a key, as DER. Some tools keep no line breaks in environment variables, so `\n` may
/// be written out; text around the block is ignored, as RFC 7468 section 2 requires.
pub(super) fn read(text: &str) -> Result<(Label, Zeroizing<Vec<u8>>), PemError> {
    let text = Zeroizing::new(text.replace("\\r", "").replace("\\n", "\n"));
    let blocks = ::pem::parse_many(text.as_bytes()).map_err(|_| PemError::NotPem)?;
    let nothing = if blocks.is_empty() {
        Err(PemError::NotPem)
    } else {
        Ok((Label::Other, Zeroizing::default()))
    };
    for block in blocks {
        if block.tag() == "ENCRYPTED PRIVATE KEY" || block.headers().get("Proc-Type").is_some() {
            return Err(PemError::Encrypted);
        }
        let label = match block.tag() {
            "PRIVATE KEY" => Label::Pkcs8,
            "RSA PRIVATE KEY" => Label::Pkcs1,
            "EC PRIVATE KEY" => Label::Sec1,
            "PUBLIC KEY" => Label::Spki,
            "RSA PUBLIC KEY" => Label::Pkcs1Public,
            // `openssl ecparam -genkey` writes `EC PARAMETERS` before the key.
            _ => continue,
        };
        return Ok((label, Zeroizing::new(block.into_contents())));
    }
    nothing
}

/// Writes a block with LF line endings.
pub(super) fn write(tag: &str, der: &[u8]) -> String {
    let config = ::pem::EncodeConfig::new().set_line_ending(::pem::LineEnding::LF);
    ::pem::encode_config(&::pem::Pem::new(tag, der), config)
}

/// The algorithm of a PKCS#8 key or a SubjectPublicKeyInfo, by the object identifier near its beginning (RFC 3279
/// section 2.3, RFC 8410 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// `rsaEncryption`
    Rsa,
    /// `id-ecPublicKey` with `prime256v1`
    P256,
    /// `id-ecPublicKey` with another curve
    OtherCurve,
    /// `id-Ed25519`
    Ed25519,
}

/// Whether a SEC 1 key names a curve of Certicom's (RFC 5480 section 2.1.1.1). Among the curves in use, only the name
/// of P-256 comes from elsewhere.
pub(super) fn other_curve(der: &[u8]) -> bool {
    let arc = b"\x06\x05\x2b\x81\x04\x00";
    der.windows(arc.len()).any(|window| window == arc)
}

/// Returns the family, or `None` for any other.
pub(super) fn family(der: &[u8]) -> Option<Family> {
    /// Lengths, version and algorithm come first and fit into this.
    const HEAD: usize = 40;
    let has = |oid: &[u8]| der.windows(oid.len()).take(HEAD).any(|window| window == oid);
    if has(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01") {
        Some(Family::Rsa)
    } else if has(b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01") {
        let p256 = has(b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07");
        Some(if p256 { Family::P256 } else { Family::OtherCurve })
    } else if has(b"\x06\x03\x2b\x65\x70") {
        Some(Family::Ed25519)
    } else {
        None
    }
}
