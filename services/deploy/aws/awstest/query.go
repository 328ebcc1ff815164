package awstest

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// fromForm reads a form of the query protocol into the SDK's own type, which has
// to know every field: Actions.member.1.Type=forward
// (https://smithy.io/2.0/aws/protocols/aws-query-protocol.html).
func fromForm(form url.Values, into any) error {
	for key, values := range form {
		if key == "Action" || key == "Version" {
			continue
		}
		if err := setPath(reflect.ValueOf(into).Elem(), strings.Split(key, "."), values[0]); err != nil {
			return refuse("ValidationError", "%s: %v", key, err)
		}
	}
	return nil
}

func setPath(v reflect.Value, path []string, value string) error {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return setPath(v.Elem(), path, value)
	case reflect.Slice:
		if len(path) == 0 {
			return nil // an empty list
		}
		if len(path) < 2 || path[0] != "member" {
			return fmt.Errorf("this is no list member")
		}
		n, err := strconv.Atoi(path[1])
		if err != nil || n < 1 || n > 1000 {
			return fmt.Errorf("this is no index")
		}
		for v.Len() < n {
			v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
		}
		return setPath(v.Index(n-1), path[2:], value)
	case reflect.Struct:
		if len(path) == 0 {
			return fmt.Errorf("this has fields")
		}
		field := v.FieldByName(path[0])
		if !field.IsValid() {
			return fmt.Errorf("the field %s is not known", path[0])
		}
		return setPath(field, path[1:], value)
	}
	if len(path) > 0 {
		return fmt.Errorf("this has no fields")
	}
	return setScalar(v, value)
}

func setScalar(v reflect.Value, value string) error {
	switch v.Kind() {
	case reflect.String:
		v.SetString(value)
	case reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return err
		}
		v.SetInt(n)
	case reflect.Bool:
		b, err := strconv.ParseBool(value)
		if err != nil {
			return err
		}
		v.SetBool(b)
	default:
		return fmt.Errorf("a %s can't be read", v.Kind())
	}
	return nil
}

// toXML writes an output of the SDK as the query protocol has it.
func toXML(action string, out any) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<%sResponse><%sResult>", action, action)
	writeFields(&b, reflect.ValueOf(out))
	fmt.Fprintf(&b, "</%sResult><ResponseMetadata><RequestId>x</RequestId></ResponseMetadata></%sResponse>", action, action)
	return b.Bytes()
}

func writeFields(b *bytes.Buffer, v reflect.Value) {
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() && f.Name != "ResultMetadata" {
			writeElement(b, f.Name, v.Field(i))
		}
	}
}

func writeElement(b *bytes.Buffer, name string, v reflect.Value) {
	if (v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice) && v.IsNil() || v.Kind() == reflect.String && v.Len() == 0 {
		return
	}
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	fmt.Fprintf(b, "<%s>", name)
	if at, ok := v.Interface().(time.Time); ok {
		b.WriteString(at.UTC().Format(time.RFC3339))
	} else {
		switch v.Kind() {
		case reflect.Struct:
			writeFields(b, v)
		case reflect.Slice:
			for i := range v.Len() {
				writeElement(b, "member", v.Index(i))
			}
		default:
			_ = xml.EscapeText(b, []byte(fmt.Sprint(v.Interface())))
		}
	}
	fmt.Fprintf(b, "</%s>", name)
}

// answerQuery answers a call of the query protocol.
func (c *Cloud) answerQuery(service, action string, form url.Values, key string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch service {
	case "sts":
		return c.answerSTS(action, form, key)
	case "ec2":
		return c.answerEC2(action, form)
	case "iam":
		return c.answerIAM(action, form)
	case "elasticloadbalancing":
		out, err := c.answerELB(action, form)
		if err != nil {
			return nil, err
		}
		return toXML(action, out), nil
	}
	return nil, refuse("InvalidAction", "The action %s is not valid for this endpoint.", action)
}
