// A small concurrent client: lists a registry, deletes every tag it finds, and writes two journal lines per
// tag. It signs as NCR wants, but does not pace, retry, look again or report.
//
// Arguments: port, requests in flight, journal file.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"
)

const (
	prefix    = "/ncr/api/v2"
	registry  = "bench"
	accessKey = "AKIDEXAMPLE000000001"
	secretKey = "SKEXAMPLE0000000000000000000000000000001"
)

type page struct {
	Next    *int
	Results []struct{ Name string }
}

type target struct{ image, tag string }

var (
	origin string
	client *http.Client
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func send(method, path string) (int, []byte, error) {
	timestamp := strconv.FormatInt(time.Now().UnixMilli(), 10)
	keyed := hmac.New(sha256.New, []byte(secretKey))
	fmt.Fprintf(keyed, "%s %s\n%s\n%s", method, path, timestamp, accessKey)
	request, err := http.NewRequest(method, origin+path, nil)
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("x-ncp-apigw-timestamp", timestamp)
	request.Header.Set("x-ncp-iam-access-key", accessKey)
	request.Header.Set("x-ncp-apigw-signature-v2", base64.StdEncoding.EncodeToString(keyed.Sum(nil)))
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, body, err
}

func names(path string) []string {
	var found []string
	for number := 1; ; number++ {
		status, body, err := send("GET", fmt.Sprintf("%s?page=%d&pagesize=100", path, number))
		check(err)
		if status != 200 {
			check(fmt.Errorf("HTTP %d", status))
		}
		var one page
		check(json.Unmarshal(body, &one))
		for _, item := range one.Results {
			found = append(found, item.Name)
		}
		if one.Next == nil {
			return found
		}
	}
}

type journal struct {
	sync.Mutex
	file *os.File
}

func (j *journal) write(line interface{}) {
	data, err := json.Marshal(line)
	check(err)
	j.Lock()
	defer j.Unlock()
	_, err = j.file.Write(append(data, '\n'))
	check(err)
}

func main() {
	origin = "http://127.0.0.1:" + os.Args[1]
	workers, err := strconv.Atoi(os.Args[2])
	check(err)
	file, err := os.Create(os.Args[3])
	check(err)
	client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers, DisableCompression: true}}
	log := &journal{file: file}
	queue := make(chan target)
	var group sync.WaitGroup
	for worker := 0; worker < workers; worker++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for item := range queue {
				log.write(map[string]string{"type": "claim", "image": item.image, "tag": item.tag})
				path := fmt.Sprintf("%s/repositories/%s/%s/tags/%s", prefix, registry, url.PathEscape(item.image), item.tag)
				status, _, err := send("DELETE", path)
				check(err)
				if status != 204 {
					check(fmt.Errorf("HTTP %d", status))
				}
				log.write(map[string]interface{}{"type": "done", "image": item.image, "tag": item.tag, "status": status})
			}
		}()
	}
	for _, image := range names(prefix + "/repositories/" + registry) {
		for _, tag := range names(prefix + "/repositories/" + registry + "/" + url.PathEscape(image) + "/tags") {
			queue <- target{image, tag}
		}
	}
	close(queue)
	group.Wait()
	check(file.Close())
}
