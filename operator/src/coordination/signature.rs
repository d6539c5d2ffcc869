//! Signatures of tokens, verified by ring: the library that TLS uses already, instead of a second
//! set of cryptography beside it.

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind,
    crypto::{CryptoProvider, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind},
    signature,
};
use ring::signature as ring_signature;

/// What API servers sign with: RS256 unless an operator of the cluster brought EC keys.
pub(super) const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::ES256,
    Algorithm::ES384,
];

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: |algorithm, key| Ok(Box::new(Verifier::new(*algorithm, key)?)),
    // Only what makes and fingerprints keys is left out; reading a JWK needs none of it.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes ring the verifier of this process. May be called again.
pub(super) fn install() {
    // An error means that it was installed before.
    let _ = PROVIDER.install_default();
}

struct Verifier {
    algorithm: Algorithm,
    key: Key,
}

enum Key {
    Rsa(
        &'static ring_signature::RsaParameters,
        ring_signature::RsaPublicKeyComponents<Vec<u8>>,
    ),
    Ec(ring_signature::UnparsedPublicKey<Vec<u8>>),
}

impl Verifier {
    fn new(algorithm: Algorithm, key: &DecodingKey) -> Result<Self, Error> {
        // A key of one family must never verify a signature of another.
        if algorithm.family() != key.family() {
            return Err(ErrorKind::InvalidKeyFormat.into());
        }
        let key = match (key.kind(), key.family()) {
            (DecodingKeyKind::RsaModulusExponent { n, e }, AlgorithmFamily::Rsa) => Key::Rsa(
                rsa(algorithm)?,
                ring_signature::RsaPublicKeyComponents {
                    n: n.clone(),
                    e: e.clone(),
                },
            ),
            (DecodingKeyKind::SecretOrDer(point), AlgorithmFamily::Ec) => Key::Ec(
                ring_signature::UnparsedPublicKey::new(curve(algorithm)?, point.clone()),
            ),
            _ => return Err(ErrorKind::InvalidKeyFormat.into()),
        };
        Ok(Self { algorithm, key })
    }
}

fn rsa(algorithm: Algorithm) -> Result<&'static ring_signature::RsaParameters, Error> {
    match algorithm {
        Algorithm::RS256 => Ok(&ring_signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Ok(&ring_signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Ok(&ring_signature::RSA_PKCS1_2048_8192_SHA512),
        _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
    }
}

fn curve(
    algorithm: Algorithm,
) -> Result<&'static dyn ring_signature::VerificationAlgorithm, Error> {
    match algorithm {
        Algorithm::ES256 => Ok(&ring_signature::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Ok(&ring_signature::ECDSA_P384_SHA384_FIXED),
        _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
    }
}

impl signature::Verifier<Vec<u8>> for Verifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        match &self.key {
            Key::Rsa(parameters, key) => key.verify(parameters, message, signature),
            Key::Ec(key) => key.verify(message, signature),
        }
        .map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Verifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
