package aws

import (
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"slipway.dev/models"
)

const mebibyte = 1 << 20

// size is what a task on Fargate gets.
type size struct {
	cpu    int64 // units: 1024 are one processor
	memory int64 // MiB
}

// sizes are the memories that Fargate has for each number of CPU units: from, to and the step, in MiB
// (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-cpu-memory-error.html).
var sizes = []struct{ cpu, from, to, step int64 }{
	{256, 512, 2048, 512}, {512, 1024, 4096, 1024}, {1024, 2048, 8192, 1024}, {2048, 4096, 16384, 1024},
	{4096, 8192, 30720, 1024}, {8192, 16384, 61440, 4096}, {16384, 32768, 122880, 8192},
}

// units are the CPU units of thousandths of a processor.
func units(cpu int64) int64 { return (cpu*1024 + 999) / 1000 }

// sizeFor is the smallest size of Fargate in which an instance has what its scale
// says; a limit that is not set takes the smallest. It tells no where none is large enough.
func sizeFor(s models.Scale) (size, bool) {
	cpu, memory := units(s.CPU), (s.Memory+mebibyte-1)/mebibyte
	for _, row := range sizes {
		if row.cpu < cpu || row.to < memory {
			continue
		}
		for m := row.from; m <= row.to; m += row.step {
			if m == 1536 && row.cpu == 256 {
				continue // Fargate has no such size
			}
			if m >= memory {
				return size{row.cpu, m}, true
			}
		}
	}
	return size{}, false
}

func (s size) String() string {
	return fmt.Sprintf("%s vCPU and %s GB", strconv.FormatFloat(float64(s.cpu)/1024, 'f', -1, 64), strconv.FormatFloat(float64(s.memory)/1024, 'f', -1, 64))
}

// exact tells whether the size is what the scale says.
func (s size) exact(scale models.Scale) bool {
	return (scale.CPU == 0 || units(scale.CPU) == s.cpu) && (scale.Memory == 0 || scale.Memory == s.memory*mebibyte)
}

// largest is what one instance can get on Fargate: thousandths of a processor, and bytes.
func largest() (cpu, memory int64) {
	row := sizes[len(sizes)-1]
	return row.cpu * 1000 / 1024, row.to * mebibyte
}

// platform is what images have to be made for.
func platform(a types.CPUArchitecture) string {
	if a == types.CPUArchitectureArm64 {
		return "linux/arm64"
	}
	return "linux/amd64"
}
