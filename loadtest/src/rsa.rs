//! RSA signatures with SHA-256 (RFC 8017 8.2.2), verified: slow and short, for a token now and then. The public exponent
//! is 65,537, as everybody's.

use crate::digest::sha256;

/// Lowest part first, with room for a bit more than the modulus.
type Number = Vec<u64>;

/// What stands before a SHA-256 digest that is signed (RFC 8017 9.2, note 1).
const SHA256_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0x04, 0x20,
];

/// Whether the signature is that of the text under the key with this modulus (big endian, no leading zero).
pub fn verifies(modulus: &[u8], text: &[u8], signature: &[u8]) -> bool {
    if signature.len() != modulus.len() || signature >= modulus {
        return false;
    }
    let parts = modulus.len() / 8 + 2;
    let (modulus, signed) = (number(modulus, parts), number(signature, parts));
    let mut power = signed.clone();
    for _ in 0..16 {
        power = times(&power, &power, &modulus);
    }
    times(&power, &signed, &modulus) == number(&padded(text, signature.len()), parts)
}

/// `00 01 ff … ff 00`, the digest's kind, the digest.
fn padded(text: &[u8], length: usize) -> Vec<u8> {
    let fill = length.saturating_sub(3 + SHA256_INFO.len() + 32);
    [&[0, 1][..], &vec![0xff; fill], &[0], &SHA256_INFO, &sha256(text)].concat()
}

fn number(bytes: &[u8], parts: usize) -> Number {
    let mut number = vec![0; parts];
    for (place, byte) in bytes.iter().rev().enumerate() {
        number[place / 8] |= u64::from(*byte) << (place % 8 * 8);
    }
    number
}

/// By doubling and adding, bit by bit from the highest.
fn times(one: &Number, two: &Number, modulus: &Number) -> Number {
    let mut product = vec![0; one.len()];
    for bit in (0..one.len() * 64).rev() {
        let before = product.clone();
        add(&mut product, &before, modulus);
        if one[bit / 64] >> (bit % 64) & 1 == 1 {
            add(&mut product, two, modulus);
        }
    }
    product
}

/// Add, and stay below the modulus.
fn add(sum: &mut Number, other: &Number, modulus: &Number) {
    let mut carry = 0;
    for (part, other) in sum.iter_mut().zip(other) {
        let all = u128::from(*part) + u128::from(*other) + carry;
        (*part, carry) = (all as u64, all >> 64);
    }
    if sum.iter().rev().ge(modulus.iter().rev()) {
        let mut borrow = false;
        for (part, other) in sum.iter_mut().zip(modulus) {
            let (less, first) = part.overflowing_sub(*other);
            let (less, second) = less.overflowing_sub(u64::from(borrow));
            (*part, borrow) = (less, first || second);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 512-bit key, made once for this test; the signature is OpenSSL's over `weir`.
    const MODULUS: &str = "d4437aa7b22f63b4db19928f8ff49c7960bcb9521634c60f590f0a629b87d0ebc585316ee56347d4e1d21201ada50deaf54e6636215c33def9f347b2809b8d5b";
    const SIGNATURE: &str = "7a4756ce9c3ebef5e4e56a99de56bca1faa1994a770e9f7f43b9791ca5f27ec2e8a14cac95b5e329b1beae2b2f386197b847440b8195f943fe2c0ee506a2be19";

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn a_signature_holds_for_its_text_and_key_alone() {
        let (modulus, signature) = (bytes(MODULUS), bytes(SIGNATURE));
        assert!(verifies(&modulus, b"weir", &signature));
        assert!(!verifies(&modulus, b"Weir", &signature));
        for at in 0..signature.len() {
            let mut other = signature.clone();
            other[at] ^= 1;
            assert!(!verifies(&modulus, b"weir", &other), "byte {at}");
        }
        assert!(!verifies(&modulus, b"weir", &signature[1..]));
        assert!(!verifies(&modulus, b"weir", &modulus));
    }
}
