package observe

import (
	"encoding/binary"
	"time"
)

// bucketLength is how many seconds of samples stand in one row: twenty of
// them, so that an hour of an instance is twelve rows of about 150 bytes.
const bucketLength = 300

// Sample is what an instance took at a moment.
type Sample struct {
	At     time.Time
	CPU    int64 // thousandths of a processor
	Memory int64 // bytes, in steps of 1 KiB
}

// bucketOf is the beginning of the bucket that a sample of the time belongs to, in seconds since 1970.
func bucketOf(at time.Time) int64 { return at.Unix() - at.Unix()%bucketLength }

// appendSample packs the sample behind those that the bucket holds: seconds
// since its beginning, thousandths of a processor and KiB, as variable-length
// numbers (encoding/binary).
func appendSample(packed []byte, starts int64, s Sample) []byte {
	packed = binary.AppendUvarint(packed, uint64(max(s.At.Unix()-starts, 0)))
	packed = binary.AppendUvarint(packed, uint64(max(s.CPU, 0)))
	return binary.AppendUvarint(packed, uint64(max(s.Memory, 0)>>10))
}

// unpack returns the samples of a bucket. What can't be read ends it.
func unpack(starts int64, packed []byte) (all []Sample) {
	for len(packed) > 0 {
		var values [3]uint64
		for i := range values {
			v, n := binary.Uvarint(packed)
			if n <= 0 {
				return all
			}
			values[i], packed = v, packed[n:]
		}
		all = append(all, Sample{At: time.Unix(starts+int64(values[0]), 0).UTC(), CPU: int64(values[1]), Memory: int64(values[2]) << 10})
	}
	return all
}
