package shared

import (
	"crypto/sha256"
	"crypto/subtle"
)

// Same compares in a time that tells nothing of either.
func Same(one, other []byte) bool {
	first, second := sha256.Sum256(one), sha256.Sum256(other)
	return subtle.ConstantTimeCompare(first[:], second[:]) == 1
}
