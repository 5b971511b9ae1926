//! One value of a SOPS file.
//!
//! [`SopsDocument`] and this node's [`Keys`] → what the value says. Rules: getsops/sops. The data key is encrypted with age for
//! each recipient; every value is AES-256-GCM with a nonce of 32 bytes, bound to the keys on the way to it; an
//! authentication code over all values (SHA-512, encrypted likewise and bound to the time of the last change) tells whether any
//! was added, removed or exchanged.
//!
//! Invariant: no value of a file whose code does not fit is given away.

use super::secrets::Keys;
use crate::model::{SopsDocument, SopsText};
use aes_gcm::aead::consts::U32;
use aes_gcm::aead::{AeadInPlace, KeyInit};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256, Sha512};
use std::fmt::Write;
use zeroize::Zeroizing;

type Cipher = AesGcm<Aes256, U32>;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// What a code over the encrypted values alone begins with, hashed (`MACOnlyEncryptedInitialization`).
const ENCRYPTED_ONLY: &[u8] = b"sops";

/// The value under this key. None: the file is for others.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn open(document: &SopsDocument, key: &str, keys: &Keys) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    let Some(data_key) = data_key(document, keys)? else { return Ok(None) };
    let cipher = Cipher::new_from_slice(&data_key).map_err(|_| "its data key has a wrong length".to_owned())?;
    let mut code = Sha512::new();
    if document.mac_only_encrypted {
        code.update(Sha256::digest(ENCRYPTED_ONLY));
    }
    let mut wanted = None;
    for value in &document.values {
        match &value.text {
            SopsText::Clear(text) if !document.mac_only_encrypted => code.update(text.as_bytes()),
            SopsText::Clear(_) => {}
            SopsText::Sealed(text) => {
                let plain = decrypt(&cipher, text, &value.bound_to).map_err(|why| format!("`{}`: {why}", value.key))?;
                code.update(&*plain);
                if value.key == key {
                    wanted = Some(plain);
                }
            }
        }
    }
    let stated =
        decrypt(&cipher, &document.mac, &document.last_modified).map_err(|why| format!("`sops.mac`: {why}"))?;
    let mut computed = String::new();
    for byte in code.finalize() {
        // Writing to a String does not fail.
        let _ = write!(computed, "{byte:02X}");
    }
    if *stated != computed.as_bytes() {
        return Err("its authentication code does not fit: values were changed without `sops`".to_owned());
    }
    wanted.map(Some).ok_or_else(|| format!("it has no encrypted value `{key}`"))
}

fn data_key(document: &SopsDocument, keys: &Keys) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    for recipient in &document.recipients {
        match keys
            .decrypt(&recipient.armor)
            .map_err(|why| format!("its data key for {}: {why}", recipient.recipient))?
        {
            Some(key) if key.len() == KEY_BYTES => return Ok(Some(key)),
            Some(_) => return Err("its data key has a wrong length".to_owned()),
            None => {}
        }
    }
    Ok(None)
}

/// `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`.
fn decrypt(cipher: &Cipher, text: &str, bound_to: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let part = |name: &str| {
        let inner = text.strip_prefix("ENC[AES256_GCM,")?.strip_suffix(']')?;
        let coded = inner.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix(':'))?;
        STANDARD.decode(coded).ok()
    };
    let (Some(data), Some(nonce), Some(tag)) = (part("data"), part("iv"), part("tag")) else {
        return Err("it is not as SOPS writes it".to_owned());
    };
    if nonce.len() != NONCE_BYTES || tag.len() != TAG_BYTES {
        return Err("its nonce or tag has a wrong length".to_owned());
    }
    let mut plain = Zeroizing::new(data);
    cipher
        .decrypt_in_place_detached(Nonce::from_slice(&nonce), bound_to.as_bytes(), &mut plain, Tag::from_slice(&tag))
        .map_err(|_| "it was changed, or moved from elsewhere".to_owned())?;
    Ok(plain)
}
