//! The private key of a client certificate, in every supported form.

use std::sync::Arc;

use rustls::{
    crypto::CryptoProvider,
    pki_types::{PrivateKeyDer, pem::PemObject},
    sign::SigningKey,
};

use crate::{
    config::{Passphrase, Pem},
    error::{Error, Result},
};

const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY-----";
/// The header of the older form of encryption.
const LEGACY: &str = "Proc-Type: 4,ENCRYPTED";

/// Accepts every form that OpenSSL reads.
const REMOVE: &str = "openssl pkcs8 -topk8 -nocrypt -in {} -out {}";

/// The curve P-521, which `ring` does not support.
const P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];

/// Reads the key. Never prompts for a passphrase.
pub(super) fn read(
    pem: &Pem,
    passphrase: Option<&Passphrase>,
    provider: &CryptoProvider,
) -> Result<Arc<dyn SigningKey>> {
    let bytes = pem.read("client key")?;
    let text = String::from_utf8_lossy(&bytes);
    if text.contains(LEGACY) {
        return Err(needs_conversion(
            pem,
            "is protected by a passphrase in an old form that ttn does not support",
        ));
    }
    let key = if text.contains(ENCRYPTED) {
        decrypt(pem, &text, passphrase)?
    } else {
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|cause| match cause {
            rustls::pki_types::pem::Error::NoItemsFound => unusable(pem, "contains no private key"),
            cause => unusable(pem, &format!("is damaged ({cause})")),
        })?
    };
    let is_p521 = key
        .secret_der()
        .windows(P521.len())
        .any(|part| part == P521);
    provider.key_provider.load_private_key(key).map_err(|cause| {
        if is_p521 {
            return unusable(
                pem,
                "is on the curve P-521, which ttn does not support; create a P-256, P-384, Ed25519 or RSA key",
            );
        }
        unusable(
            pem,
            &format!("cannot be read; it must be RSA with 2048 to 4096 bits, P-256, P-384 or Ed25519 ({cause})"),
        )
    })
}

#[cfg(not(feature = "encrypted-keys"))]
fn decrypt(pem: &Pem, _: &str, _: Option<&Passphrase>) -> Result<PrivateKeyDer<'static>> {
    Err(Error::config(format!(
        "the certificates cannot be used: the client key {pem} is protected by a passphrase, which needs the feature `encrypted-keys` of ttn and \
         client_key_passphrase; or remove the passphrase with: {}",
        command(pem, REMOVE)
    )))
}

#[cfg(feature = "encrypted-keys")]
fn decrypt(
    pem: &Pem,
    text: &str,
    passphrase: Option<&Passphrase>,
) -> Result<PrivateKeyDer<'static>> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use pkcs8::{EncryptedPrivateKeyInfoRef, pkcs5};
    use rustls::pki_types::PrivatePkcs8KeyDer;

    let Some(passphrase) = passphrase else {
        return Err(Error::config(format!(
            "the certificates cannot be used: the client key {pem} is protected by a passphrase; set it with client_key_passphrase, or remove it with: {}",
            command(pem, REMOVE)
        )));
    };
    let damaged = || unusable(pem, "is damaged");
    let body = text
        .split_once(ENCRYPTED)
        .and_then(|(_, rest)| rest.split_once("-----END"))
        .map(|(body, _)| body.split_whitespace().collect::<String>())
        .ok_or_else(damaged)?;
    let der = STANDARD.decode(body).map_err(|_| damaged())?;
    // An unsupported form may already fail here.
    let conversion = || {
        needs_conversion(
            pem,
            "is protected by a passphrase in a form that ttn does not support",
        )
    };
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(&*der).map_err(|_| conversion())?;
    match encrypted.decrypt(passphrase.reveal()) {
        Ok(key) => Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into()),
        Err(pkcs8::Error::EncryptedPrivateKey(
            pkcs5::Error::NoPbes1CryptSupport
            | pkcs5::Error::UnsupportedAlgorithm { .. }
            | pkcs5::Error::AlgorithmParametersInvalid { .. },
        )) => Err(conversion()),
        // With a wrong passphrase, decryption yields random bytes.
        Err(_) => Err(unusable(
            pem,
            "cannot be decrypted with this client_key_passphrase; is it the right one?",
        )),
    }
}

fn unusable(pem: &Pem, why: &str) -> Error {
    Error::config(format!(
        "the certificates cannot be used: the client key {pem} {why}"
    ))
}

fn needs_conversion(pem: &Pem, why: &str) -> Error {
    let to = if cfg!(feature = "encrypted-keys") {
        "convert it with"
    } else {
        "remove it with"
    };
    let convert = if cfg!(feature = "encrypted-keys") {
        "openssl pkcs8 -topk8 -v2 aes-256-cbc -in {} -out {}"
    } else {
        REMOVE
    };
    unusable(pem, &format!("{why}; {to}: {}", command(pem, convert)))
}

/// Returns the command for this file; `{}` is first the old name, then the new one.
fn command(pem: &Pem, command: &str) -> String {
    let old = match pem {
        Pem::File(path) => path.display().to_string(),
        Pem::Bytes(_) => "client.key".to_owned(),
    };
    let new = format!("{old}.new");
    command.replacen("{}", &old, 1).replacen("{}", &new, 1)
}
