package models

import (
	"fmt"
	"strconv"
)

// Bytes writes the size of an image, a file or a disk with three significant digits and decimal units, as registries do:
// "48.2 MB". Memory is written in binary units, in which its limits are set.
func Bytes(n int64) string {
	if n < 1000 {
		return strconv.FormatInt(n, 10) + " B"
	}
	value, unit := float64(n), ""
	for _, unit = range []string{"kB", "MB", "GB", "TB"} {
		value /= 1000
		if value < 999.5 {
			break
		}
	}
	switch {
	case value >= 99.95:
		return fmt.Sprintf("%.0f %s", value, unit)
	case value >= 9.995:
		return fmt.Sprintf("%.1f %s", value, unit)
	}
	return fmt.Sprintf("%.2f %s", value, unit)
}
