// A service that answers over HTTP with what the C library looks up: names of
// hosts, services and users, encodings, time zones, and plugins.
#include "plugin.h"

#include <arpa/inet.h>
#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dlfcn.h>
#include <grp.h>
#include <iconv.h>
#include <map>
#include <netdb.h>
#include <pwd.h>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <unistd.h>

using Query = std::map<std::string, std::string>;

static std::string decode(const std::string &in) {
    std::string out;
    for (size_t i = 0; i < in.size(); i++) {
        if (in[i] == '%' && i + 2 < in.size()) {
            out += static_cast<char>(std::stoi(in.substr(i + 1, 2), nullptr, 16));
            i += 2;
        } else {
            out += in[i] == '+' ? ' ' : in[i];
        }
    }
    return out;
}

static Query parse(const std::string &text) {
    Query q;
    std::istringstream in(text);
    for (std::string pair; std::getline(in, pair, '&');) {
        auto eq = pair.find('=');
        if (eq != std::string::npos) q[pair.substr(0, eq)] = decode(pair.substr(eq + 1));
    }
    return q;
}

static std::string convert(Query &q) {
    iconv_t cd = iconv_open(q["to"].c_str(), q["from"].empty() ? "UTF-8" : q["from"].c_str());
    if (cd == reinterpret_cast<iconv_t>(-1)) throw std::runtime_error(std::string("iconv_open: ") + strerror(errno));
    std::string text = q["text"];
    char buf[512];
    char *in = text.data(), *out = buf;
    size_t inleft = text.size(), outleft = sizeof buf;
    bool ok = iconv(cd, &in, &inleft, &out, &outleft) != static_cast<size_t>(-1) &&
              iconv(cd, nullptr, nullptr, &out, &outleft) != static_cast<size_t>(-1);
    int err = errno;
    iconv_close(cd);
    if (!ok) throw std::runtime_error(std::string("iconv: ") + strerror(err));
    std::string hex;
    for (char *p = buf; p < out; p++) {
        char two[3];
        snprintf(two, sizeof two, "%02x", static_cast<unsigned char>(*p));
        hex += two;
    }
    return hex;
}

static std::string resolve(Query &q) {
    addrinfo hints{}, *res = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    const char *service = q["service"].empty() ? nullptr : q["service"].c_str();
    int rc = getaddrinfo(q["host"].c_str(), service, &hints, &res);
    if (rc != 0) throw std::runtime_error(std::string("getaddrinfo: ") + gai_strerror(rc));
    char host[NI_MAXHOST], port[NI_MAXSERV];
    getnameinfo(res->ai_addr, res->ai_addrlen, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    freeaddrinfo(res);
    return std::string(host) + " " + port;
}

static std::string user(Query &q) {
    const passwd *pw = getpwnam(q["name"].c_str());
    if (!pw) throw std::runtime_error("no such user");
    const group *gr = getgrgid(pw->pw_gid);
    return std::to_string(pw->pw_uid) + " " + (gr ? gr->gr_name : "?") + " " + pw->pw_dir;
}

static std::string local(Query &q) {
    setenv("TZ", q["zone"].c_str(), 1);
    tzset();
    time_t at = std::stoll(q["at"]);
    tm parts{};
    localtime_r(&at, &parts);
    char buf[64];
    strftime(buf, sizeof buf, "%Y-%m-%d %H:%M:%S %Z", &parts);
    return buf;
}

static std::string plugin(Query &q) {
    std::string file = "/usr/local/lib/lookup/" + q["name"] + ".so";
    void *lib = dlopen(file.c_str(), RTLD_NOW);
    if (!lib) throw std::runtime_error(dlerror());
    auto f = reinterpret_cast<decltype(&transform)>(dlsym(lib, "transform"));
    if (!f) throw std::runtime_error(dlerror());
    return f(q["text"].c_str());
}

static std::string protocol(Query &q) {
    const protoent *p = getprotobyname(q["name"].c_str());
    if (!p) throw std::runtime_error("no such protocol");
    return std::to_string(p->p_proto);
}

static std::string locale(Query &q) {
    const char *name = setlocale(LC_ALL, q["name"].c_str());
    if (!name) throw std::runtime_error("no such locale");
    std::string was = name;
    bool matches = std::regex_search(q["text"], std::regex(q["match"]));
    setlocale(LC_ALL, "C");
    return was + (matches ? " matches" : " does not match");
}

static void serve(int conn) {
    char buf[4096];
    ssize_t n = read(conn, buf, sizeof buf - 1);
    if (n > 0) {
        buf[n] = 0;
        std::istringstream first(buf);
        std::string method, target;
        first >> method >> target;
        auto mark = target.find('?');
        Query q = parse(mark == std::string::npos ? "" : target.substr(mark + 1));
        static const std::map<std::string, std::string (*)(Query &)> answers{
            {"/iconv", convert}, {"/resolve", resolve}, {"/user", user}, {"/time", local},
            {"/plugin", plugin}, {"/protocol", protocol}, {"/locale", locale}};
        std::string status = "200 OK", body;
        auto it = answers.find(target.substr(0, mark));
        try {
            if (it == answers.end()) {
                status = "404 Not Found";
            } else {
                body = it->second(q);
            }
        } catch (const std::exception &e) {
            status = "500 Internal Server Error";
            body = e.what();
        }
        std::string reply = "HTTP/1.1 " + status + "\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
        for (size_t off = 0; off < reply.size();) {
            ssize_t w = write(conn, reply.data() + off, reply.size() - off);
            if (w <= 0) break;
            off += w;
        }
    }
    close(conn);
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, [](int) { _exit(0); });
    int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    sockaddr_in addr{};
    addr.sin_family = AF_INET;
    addr.sin_port = htons(static_cast<uint16_t>(argc > 1 ? std::atoi(argv[1]) : 8080));
    if (bind(s, reinterpret_cast<sockaddr *>(&addr), sizeof addr) != 0 || listen(s, 16) != 0) {
        std::perror("listen");
        return 1;
    }
    for (int conn; (conn = accept(s, nullptr, nullptr)) >= 0;) {
        serve(conn);
    }
}
