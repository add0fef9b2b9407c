function hello(r) {
    r.headersOut['Content-Type'] = 'application/json';
    r.return(200, JSON.stringify({method: r.method, sum: [1, 2, 3].reduce((a, b) => a + b)}));
}

export default {hello};
