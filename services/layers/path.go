package layers

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// split turns a path of an archive into its parts. What leads out of the image
// stays in it, as it would under chroot; odd tells that it was no plain path.
// An absolute path is plain: the root of the archive is that of the image.
func split(name string) (parts []string, odd bool) {
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "", ".":
		case "..":
			odd = true
			parts = parts[:max(len(parts)-1, 0)]
		default:
			shown := printable(part)
			odd = odd || shown != part || strings.Contains(part, `\`) || len(part) > 255
			parts = append(parts, shown)
		}
	}
	return parts, odd
}

// Clean writes a path as indexes have it: absolute, printable, without a slash at its end.
func Clean(path string) string {
	parts, _ := split(path)
	return "/" + strings.Join(parts, "/")
}

// printable writes what is no printable text, and what turns text around, as an escape.
func printable(s string) string {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = s[i] >= ' ' && s[i] < 0x7f
	}
	if plain {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case !unicode.IsPrint(r) && r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// key sorts directories so that each stands before those in it, and these before its next sibling.
func key(dir string) string {
	if dir == "/" {
		return ""
	}
	return strings.ReplaceAll(dir, "/", "\x00")
}

// below tells whether the key is the directory's or that of one in it.
func below(k, dir string) bool {
	return k == dir || dir == "" || strings.HasPrefix(k, dir) && k[len(dir)] == 0
}

// parent returns the directory of a path and the name in it.
func parent(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	if i <= 0 {
		return "/", path[i+1:]
	}
	return path[:i], path[i+1:]
}
