package auth

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"sync"
)

// The cost of a bcrypt hash is the logarithm of its rounds. etcd 2 writes 10, which takes one core
// about 60 ms; 14 takes a second, during which no other password is checked.
const (
	minBcryptCost = 4
	maxBcryptCost = 14
)

// bcryptBytes is how many bytes of a password and the zero byte behind it bcrypt looks at.
const bcryptBytes = 72

var (
	bcryptForm     = regexp.MustCompile(`^\$2[aby]\$([0-9]{2})\$([./A-Za-z0-9]{22})([./A-Za-z0-9]{31})$`)
	bcryptEncoding = base64.NewEncoding("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789").
			WithPadding(base64.NoPadding)
)

// ParseBcrypt returns the Secret of a bcrypt hash as etcd 2 stores it, "$2a$10$" and 53 characters;
// "$2b$" and "$2y$" mean the same. A hash of another form, or with a cost beyond 4 to 14, is an
// error; its text does not quote the hash.
func ParseBcrypt(hash string) (Secret, error) {
	part := bcryptForm.FindStringSubmatch(hash)
	if part == nil {
		return Secret{}, fmt.Errorf("auth: not a bcrypt hash")
	}
	cost, _ := strconv.Atoi(part[1])
	if cost < minBcryptCost || cost > maxBcryptCost {
		return Secret{}, fmt.Errorf("auth: a bcrypt hash of cost %d: only %d to %d are checked", cost, minBcryptCost,
			maxBcryptCost)
	}
	salt, _ := bcryptEncoding.DecodeString(part[2])
	key, _ := bcryptEncoding.DecodeString(part[3])
	return Secret{BcryptCost: cost, Salt: salt, Key: key}, nil
}

// bcrypt returns the 23 bytes that the algorithm makes of a password. The salt has 16 bytes.
func bcrypt(password string, salt []byte, cost int) []byte {
	var cycled [bcryptBytes]byte
	for i := range cycled {
		if at := i % (len(password) + 1); at < len(password) {
			cycled[i] = password[at]
		}
	}
	var key, salted [18]uint32
	for i := range key {
		key[i] = binary.BigEndian.Uint32(cycled[4*i:])
		salted[i] = binary.BigEndian.Uint32(salt[4*(i%4):])
	}
	b := *digitsOfPi()
	b.expand(&key, &salted)
	for range 1 << cost {
		b.expand(&key, &[18]uint32{})
		b.expand(&salted, &[18]uint32{})
	}
	return b.encryptMagic()
}

// blowfish is the state of the cipher Blowfish: 18 round keys, then four tables of 256 words.
type blowfish [18 + 4*256]uint32

// expand mixes a key and a salt into the state. The salt has four words, repeated to fill 18.
func (b *blowfish) expand(key, salt *[18]uint32) {
	for i, word := range key {
		b[i] ^= word
	}
	var l, r uint32
	for i := 0; i < len(b); i += 2 {
		l, r = b.encrypt(l^salt[i%4], r^salt[i%4+1])
		b[i], b[i+1] = l, r
	}
}

// encrypt is the cipher, for one block of two words.
func (b *blowfish) encrypt(l, r uint32) (uint32, uint32) {
	for i := 0; i < 16; i += 2 {
		l ^= b[i]
		r ^= b.mix(l) ^ b[i+1]
		l ^= b.mix(r)
	}
	return r ^ b[17], l ^ b[16]
}

// mix is the cipher's function F.
func (b *blowfish) mix(x uint32) uint32 {
	return (b[18+x>>24] + b[274+x>>16&255] ^ b[530+x>>8&255]) + b[786+x&255]
}

// encryptMagic encrypts bcrypt's three blocks 64 times. It leaves out the last of the 24 bytes, as
// every bcrypt does.
func (b *blowfish) encryptMagic() []byte {
	out := []byte("OrpheanBeholderScryDoubt")
	for block := out; len(block) > 0; block = block[8:] {
		l, r := binary.BigEndian.Uint32(block), binary.BigEndian.Uint32(block[4:])
		for range 64 {
			l, r = b.encrypt(l, r)
		}
		binary.BigEndian.PutUint32(block, l)
		binary.BigEndian.PutUint32(block[4:], r)
	}
	return out[:23]
}

// digitsOfPi is the state that Blowfish begins with: the first 33,344 binary digits of π behind the
// point, by Machin's formula: π = 16 arctan(1/5) - 4 arctan(1/239).
var digitsOfPi = sync.OnceValue(func() *blowfish {
	const digits, spare = 32 * uint(len(blowfish{})), 64
	one := new(big.Int).Lsh(big.NewInt(1), digits+spare)
	pi := new(big.Int).Lsh(arctan(one, 5), 4)
	pi.Sub(pi, new(big.Int).Lsh(arctan(one, 239), 2))
	fraction := pi.Rsh(pi.Mod(pi, one), spare)
	b := new(blowfish)
	for i, bytes := 0, fraction.FillBytes(make([]byte, digits/8)); i < len(b); i++ {
		b[i] = binary.BigEndian.Uint32(bytes[4*i:])
	}
	return b
})

// arctan returns arctan(1/x) in units of 1/one, off by a few: 1/x - 1/3x³ + 1/5x⁵ - …
func arctan(one *big.Int, x int64) *big.Int {
	power := new(big.Int).Quo(one, big.NewInt(x))
	sum, term := new(big.Int).Set(power), new(big.Int)
	for n := int64(3); power.Sign() != 0; n += 2 {
		power.Quo(power, big.NewInt(-x*x))
		sum.Add(sum, term.Quo(power, big.NewInt(n)))
	}
	return sum
}
