"""Sends whole bodies before it reads any answer, as Python's http.client does; prints each answer that is lost."""

import http.client
import json
import sys

address, tries, cases = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
lost = 0
for _ in range(tries):
    for method, path, headers, length, wanted in cases:
        connection = http.client.HTTPConnection(address, timeout=60)
        try:
            connection.request(method, path, body=b" " * length, headers=headers)
            answer = connection.getresponse()
            told = (answer.status, json.loads(answer.read())["status"])
            # The connection goes on.
            connection.request("GET", "/ping")
            told += (connection.getresponse().status,)
        except OSError as error:
            told = repr(error)
        except http.client.HTTPException as error:
            told = repr(error)
        connection.close()
        if told != (wanted, wanted, 200):
            lost += 1
            print(method, path, length, "wanted", wanted, "got", told)
print(lost, "of", tries * len(cases), "answers are lost")
sys.exit(lost != 0)
