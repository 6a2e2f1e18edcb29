package signature

import (
	"errors"
	"fmt"
	"strings"
)

// word is one part of a template.
type word uint8

const (
	wordText word = iota // text that stands for itself
	wordBody
	wordBodySHA256
	wordBodyMD5
	wordFormSorted
	wordURL
	wordURLBase
	wordURLFormSorted
	wordPath
	wordMethod
	wordTimestamp
	wordID
	wordHeader
)

var words = map[string]word{
	"body":            wordBody,
	"body_sha256":     wordBodySHA256,
	"body_md5":        wordBodyMD5,
	"form_sorted":     wordFormSorted,
	"url":             wordURL,
	"url_base":        wordURLBase,
	"url_form_sorted": wordURLFormSorted,
	"path":            wordPath,
	"method":          wordMethod,
	"timestamp":       wordTimestamp,
	"id":              wordID,
}

// part is a word and, for text and headers, which.
type part struct {
	word word
	text string
}

// parseTemplate reads a template. Words are looked up here and never at request time, so that nothing a request carries
// is read as a word.
func parseTemplate(template string) ([]part, error) {
	if template == "" {
		return nil, errors.New("the payload is missing")
	}
	var parts []part
	seen := make(map[part]bool)
	for rest := template; rest != ""; {
		open := strings.IndexAny(rest, "{}")
		if open < 0 {
			parts = append(parts, part{text: rest})
			break
		}
		if open > 0 {
			parts = append(parts, part{text: rest[:open]})
		}
		end := strings.IndexByte(rest, '}')
		if rest[open] == '}' || end < 0 {
			return nil, errors.New("the payload has a brace without its other half")
		}
		p, err := parseWord(rest[open+1 : end])
		if err != nil {
			return nil, err
		}
		if seen[p] {
			return nil, fmt.Errorf("the payload has {%s} twice", rest[open+1:end])
		}
		seen[p] = true
		parts = append(parts, p)
		rest = rest[end+1:]
	}
	if len(seen) == 0 {
		return nil, errors.New("the payload has no word such as {body}: its signature would fit every request")
	}
	return parts, nil
}

func parseWord(name string) (part, error) {
	if header, ok := strings.CutPrefix(name, "header."); ok {
		if err := checkHeader("header of the payload", header); err != nil {
			return part{}, err
		}
		return part{word: wordHeader, text: header}, nil
	}
	w, ok := words[name]
	if !ok {
		return part{}, fmt.Errorf("the payload has the unknown word {%s}", name)
	}
	return part{word: w}, nil
}
