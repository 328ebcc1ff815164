package idp

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"slipway.dev/models"
)

// The cost of argon2id: OWASP's second choice of parameters, 19 MiB and two passes.
const (
	argonMemory  = 19 * 1024 // KiB
	argonPasses  = 2
	argonThreads = 1
	argonSize    = 32

	minPassword = 12
	maxPassword = 200
)

// hashing lets two passwords be hashed at a time, so that a crowd of sign-ins can't take all memory.
var hashing = make(chan struct{}, 2)

// checkPassword tells what is wrong with a new password, or nothing.
func checkPassword(password, userName string) string {
	lower := strings.ToLower(password)
	switch n := utf8.RuneCountInString(password); {
	case n < minPassword:
		return fmt.Sprintf("Use at least %d characters; a few words in a row are good.", minPassword)
	case n > maxPassword || !utf8.ValidString(password):
		return fmt.Sprintf("Use at most %d characters.", maxPassword)
	case userName != "" && strings.Contains(lower, userName):
		return "Leave your user name out of it."
	case distinct(lower) < 6 || predictable(lower):
		return "This one is among the first that a guesser tries. Use a few unrelated words."
	}
	return ""
}

func distinct(s string) int {
	seen := map[rune]bool{}
	for _, r := range s {
		seen[r] = true
	}
	return len(seen)
}

// common are the beginnings of most passwords that leaked lists hold at this length.
var common = []string{"password", "passw0rd", "123456", "qwerty", "letmein", "iloveyou", "administrator", "changeme", "welcome", "slipway", "abc123", "secret"}

// predictable tells whether little is left of the password without the parts that everybody uses.
func predictable(s string) bool {
	for _, part := range common {
		s = strings.ReplaceAll(s, part, "")
	}
	rest := strings.TrimFunc(s, func(r rune) bool { return !('a' <= r && r <= 'z') && r < utf8.RuneSelf })
	return utf8.RuneCountInString(s) < 6 || rest == "" || ascending(s)
}

// ascending tells whether each character follows the one before, as in 123456789012.
func ascending(s string) bool {
	runes, steps := []rune(s), 0
	for i := 1; i < len(runes); i++ {
		if d := runes[i] - runes[i-1]; d == 1 || d == 0 || d == -1 {
			steps++
		}
	}
	return steps*10 >= (len(runes)-1)*8
}

// hash returns the password's argon2id hash in PHC form.
func hash(password string) string {
	salt := make([]byte, 16)
	rand.Read(salt)
	hashing <- struct{}{}
	defer func() { <-hashing }()
	sum := argon2.IDKey([]byte(password), salt, argonPasses, argonMemory, argonThreads, argonSize)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonPasses, argonThreads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(sum))
}

// nobody is compared with where there is no account, so that the answer takes as long.
var nobody = fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonPasses, argonThreads,
	base64.RawStdEncoding.EncodeToString(make([]byte, 16)), base64.RawStdEncoding.EncodeToString(make([]byte, argonSize)))

// matches tells whether the password is the one that was hashed. It waits for
// its turn at most as long as the request lives.
func matches(ctx context.Context, hashed, password string) (bool, error) {
	known := hashed != ""
	if !known {
		hashed = nobody
	}
	parts := strings.Split(hashed, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false, fmt.Errorf("a stored password hash has an unknown form")
	}
	var memory, passes uint32
	var threads uint8
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &threads); err != nil {
		return false, fmt.Errorf("a stored password hash has an unknown form: %w", err)
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil {
		return false, fmt.Errorf("a stored password hash has an unknown form: %w", err)
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || len(want) == 0 {
		return false, fmt.Errorf("a stored password hash has an unknown form")
	}
	if len(password) > 4*maxPassword {
		password = ""
	}
	select {
	case hashing <- struct{}{}:
		defer func() { <-hashing }()
	case <-ctx.Done():
		return false, models.Errorf(models.Unavailable, "Too many people sign in right now. Try again in a moment.")
	}
	got := argon2.IDKey([]byte(password), salt, passes, memory, threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1 && known, nil
}
