// Package secrets encrypts what must not be read from the database. Each value
// has a key of its own, which is sealed with a master key that lives in a file
// outside the database (envelope encryption); a new master key can be put first
// while old ones still open what they sealed.
package secrets

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	version = 1
	keySize = 32
	idSize  = 8
)

// Box seals and opens values. It is safe for concurrent use.
type Box struct {
	keys []masterKey // the first one seals
}

type masterKey struct {
	id   [idSize]byte
	key  []byte
	aead cipher.AEAD
}

// Load reads the master keys from the file: one base64 key of 32 bytes a line,
// the one to seal with first. Where there is no file it makes one with a new key, readable by its owner alone.
func Load(path string) (*Box, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		data, err = create(path)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key file: %w", err)
	}
	return Parse(string(data))
}

func create(path string) ([]byte, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	key := make([]byte, keySize)
	rand.Read(key)
	line := []byte(base64.StdEncoding.EncodeToString(key) + "\n")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) { // another process was quicker
		return os.ReadFile(path)
	}
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(line); err != nil {
		f.Close()
		return nil, err
	}
	return line, errors.Join(f.Sync(), f.Close())
}

// Parse reads master keys as Load finds them in a file.
func Parse(text string) (*Box, error) {
	b := &Box{}
	for _, line := range strings.Fields(text) {
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(key) != keySize {
			return nil, fmt.Errorf("key %d of the key file is not %d bytes in base64", len(b.keys)+1, keySize)
		}
		sum := sha256.Sum256(key)
		b.keys = append(b.keys, masterKey{id: [idSize]byte(sum[:idSize]), key: key, aead: newAEAD(key)})
	}
	if len(b.keys) == 0 {
		return nil, errors.New("the key file holds no key")
	}
	return b, nil
}

func newAEAD(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the length was checked
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// Seal encrypts plain for one place, such as "variables/ID": the result opens for that place only.
func (b *Box) Seal(place string, plain []byte) []byte {
	dataKey := make([]byte, keySize)
	rand.Read(dataKey)
	master := b.keys[0]
	out := append([]byte{version}, master.id[:]...)
	out = master.aead.Seal(out, nil, dataKey, []byte(place))
	return newAEAD(dataKey).Seal(out, nil, plain, []byte(place))
}

// Open returns what Seal was given for the place. It fails where the value was
// changed, moved to another place, or sealed with a key that is gone.
func (b *Box) Open(place string, sealed []byte) ([]byte, error) {
	const head = 1 + idSize
	wrapped := keySize + 12 + 16 // the data key, GCM's nonce and tag
	if len(sealed) < head+wrapped || sealed[0] != version {
		return nil, fmt.Errorf("the secret of %s is damaged", place)
	}
	for _, master := range b.keys {
		if [idSize]byte(sealed[1:head]) != master.id {
			continue
		}
		dataKey, err := master.aead.Open(nil, nil, sealed[head:head+wrapped], []byte(place))
		if err != nil {
			return nil, fmt.Errorf("the secret of %s is damaged", place)
		}
		plain, err := newAEAD(dataKey).Open(nil, nil, sealed[head+wrapped:], []byte(place))
		if err != nil {
			return nil, fmt.Errorf("the secret of %s is damaged", place)
		}
		return plain, nil
	}
	return nil, fmt.Errorf("the secret of %s was sealed with a key that the key file does not hold", place)
}

// Fingerprint returns a short text that changes with the value and tells
// nothing about it: a keyed hash (HMAC-SHA-256) of place and value.
func (b *Box) Fingerprint(place string, plain []byte) string {
	mac := hmac.New(sha256.New, b.keys[len(b.keys)-1].key) // the oldest key, so that a rotation changes no fingerprint
	fmt.Fprintf(mac, "%d:%s", len(place), place)
	mac.Write(plain)
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// Derive returns a key of 32 bytes for one purpose, the same in every process that has the key file.
func (b *Box) Derive(purpose string) []byte {
	mac := hmac.New(sha256.New, b.keys[len(b.keys)-1].key)
	mac.Write([]byte("slipway " + purpose))
	return mac.Sum(nil)
}
