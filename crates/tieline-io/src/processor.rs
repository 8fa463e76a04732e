//! What the processor is good at.

/// Whether it has instructions for AES and for the multiplication of GCM, so that AES-256-GCM is faster than
/// ChaCha20-Poly1305. Without them it is several times slower.
#[must_use]
pub fn has_fast_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        // Of the processors that have the two, those before AVX2 seal with either at about the same pace.
        is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("avx2")
    }
    #[cfg(target_arch = "aarch64")]
    {
        std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull")
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        false
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn fast_aes_is_what_the_kernel_says_of_the_processor() {
        let told = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let flags = told.lines().find(|row| row.starts_with("flags")).unwrap();
        let has = |flag| flags.split_whitespace().any(|word| word == flag);
        assert_eq!(has_fast_aes(), has("aes") && has("pclmulqdq") && has("avx2"));
    }
}
