import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpHandler;
import com.sun.net.httpserver.HttpServer;
import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsServer;
import java.awt.Color;
import java.awt.image.BufferedImage;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.IOException;
import java.io.StringReader;
import java.io.StringWriter;
import java.lang.management.ManagementFactory;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.URLDecoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyPairGenerator;
import java.security.KeyStore;
import java.security.Security;
import java.time.Instant;
import java.time.ZoneId;
import java.time.format.DateTimeFormatter;
import java.time.format.FormatStyle;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Executors;
import javax.crypto.Cipher;
import javax.imageio.ImageIO;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;
import javax.xml.parsers.DocumentBuilderFactory;
import javax.xml.transform.TransformerFactory;
import javax.xml.transform.stream.StreamResult;
import javax.xml.transform.stream.StreamSource;
import javax.xml.xpath.XPathFactory;
import org.xml.sax.InputSource;

/** A small service of the things that business applications do with the Java runtime. */
public final class Server {
    private interface Answer {
        String to(Map<String, String> query) throws Exception;
    }

    private static SSLContext tls;

    public static void main(String[] args) throws Exception {
        var keys = KeyStore.getInstance("PKCS12");
        try (InputStream in = Files.newInputStream(Path.of("server.p12"))) {
            keys.load(in, "changeit".toCharArray());
        }
        var kmf = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        kmf.init(keys, "changeit".toCharArray());
        var own = KeyStore.getInstance(KeyStore.getDefaultType());
        own.load(null, null);
        own.setCertificateEntry("server", keys.getCertificate("server"));
        var tmf = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        tmf.init(own);
        tls = SSLContext.getInstance("TLS");
        tls.init(kmf.getKeyManagers(), tmf.getTrustManagers(), null);

        var https = HttpsServer.create(new InetSocketAddress("127.0.0.1", 8443), 0);
        https.setHttpsConfigurator(new HttpsConfigurator(tls));
        https.setExecutor(Executors.newCachedThreadPool());
        handle(https, "/hello", q -> "hello over TLS");
        https.start();

        var http = HttpServer.create(new InetSocketAddress("0.0.0.0", 8080), 0);
        http.setExecutor(Executors.newFixedThreadPool(4));
        handle(http, "/time", Server::time);
        handle(http, "/tls", Server::overTLS);
        handle(http, "/charset", Server::charset);
        handle(http, "/xml", Server::xml);
        handle(http, "/image", Server::image);
        handle(http, "/zip", Server::zip);
        handle(http, "/crypto", Server::crypto);
        handle(http, "/trust", Server::trust);
        handle(http, "/management", Server::management);
        handle(http, "/prefs", Server::prefs);
        http.start();
        System.out.println("ready");
    }

    private static void handle(HttpServer server, String path, Answer answer) {
        HttpHandler handler = (HttpExchange x) -> {
            int status = 200;
            String text;
            try {
                text = answer.to(query(x.getRequestURI().getRawQuery()));
            } catch (Throwable e) {
                status = 500;
                var words = new StringWriter();
                e.printStackTrace(new java.io.PrintWriter(words));
                text = words.toString();
            }
            byte[] body = text.getBytes(StandardCharsets.UTF_8);
            x.getResponseHeaders().set("Content-Type", "text/plain; charset=utf-8");
            x.sendResponseHeaders(status, body.length);
            try (var out = x.getResponseBody()) {
                out.write(body);
            }
        };
        server.createContext(path, handler);
    }

    private static Map<String, String> query(String raw) {
        var values = new HashMap<String, String>();
        if (raw != null) {
            for (String pair : raw.split("&")) {
                String[] kv = pair.split("=", 2);
                values.put(kv[0], kv.length > 1 ? URLDecoder.decode(kv[1], StandardCharsets.UTF_8) : "");
            }
        }
        return values;
    }

    /** A moment as people write it in their own zone and language. */
    private static String time(Map<String, String> q) {
        var at = Instant.parse(q.get("at")).atZone(ZoneId.of(q.get("zone")));
        if (!q.containsKey("locale")) {
            return DateTimeFormatter.ISO_OFFSET_DATE_TIME.format(at);
        }
        return DateTimeFormatter.ofLocalizedDate(FormatStyle.FULL).withLocale(Locale.forLanguageTag(q.get("locale"))).format(at);
    }

    /** Asks the server itself over TLS. */
    private static String overTLS(Map<String, String> q) throws Exception {
        var client = HttpClient.newBuilder().sslContext(tls).build();
        var req = HttpRequest.newBuilder(URI.create("https://localhost:8443/hello")).build();
        HttpResponse<String> res = client.send(req, HttpResponse.BodyHandlers.ofString());
        return res.body() + " " + res.sslSession().orElseThrow().getProtocol();
    }

    private static String charset(Map<String, String> q) {
        byte[] dt = q.get("text").getBytes(Charset.forName(q.get("name")));
        var hex = new StringBuilder();
        for (byte b : dt) {
            hex.append(String.format("%02x", b));
        }
        return hex.toString();
    }

    private static String xml(Map<String, String> q) throws Exception {
        String doc = "<items><item price='3'/><item price='4'/></items>";
        var parsed = DocumentBuilderFactory.newInstance().newDocumentBuilder().parse(new InputSource(new StringReader(doc)));
        String sum = XPathFactory.newInstance().newXPath().evaluate("sum(//item/@price)", parsed);
        String sheet = "<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform'><xsl:output method='text'/>"
                + "<xsl:template match='/'><xsl:value-of select='count(//item)'/> items</xsl:template></xsl:stylesheet>";
        var out = new StringWriter();
        TransformerFactory.newInstance().newTransformer(new StreamSource(new StringReader(sheet)))
                .transform(new StreamSource(new StringReader(doc)), new StreamResult(out));
        return out + " for " + sum;
    }

    /** Draws, and writes and reads back in the format asked for. */
    private static String image(Map<String, String> q) throws IOException {
        var img = new BufferedImage(64, 32, BufferedImage.TYPE_INT_RGB);
        var g = img.createGraphics();
        g.setColor(Color.RED);
        g.fillOval(4, 4, 56, 24);
        g.dispose();
        var out = new ByteArrayOutputStream();
        if (!ImageIO.write(img, q.get("format"), out)) {
            throw new IOException("no writer for " + q.get("format"));
        }
        var back = ImageIO.read(new ByteArrayInputStream(out.toByteArray()));
        return back.getWidth() + "x" + back.getHeight() + " " + (new Color(back.getRGB(32, 16)).getRed() > 200);
    }

    private static String zip(Map<String, String> q) throws Exception {
        var file = Path.of(System.getProperty("java.io.tmpdir"), "made.zip");
        Files.deleteIfExists(file);
        try (var fs = FileSystems.newFileSystem(file, Map.of("create", "true"))) {
            Files.writeString(fs.getPath("/inside.txt"), "inside");
        }
        try (var fs = FileSystems.newFileSystem(file, Map.of())) {
            return Files.readString(fs.getPath("/inside.txt"));
        }
    }

    private static String crypto(Map<String, String> q) throws Exception {
        var rsa = KeyPairGenerator.getInstance("RSA");
        rsa.initialize(2048);
        var pair = rsa.generateKeyPair();
        var cipher = Cipher.getInstance("RSA/ECB/OAEPWithSHA-256AndMGF1Padding");
        cipher.init(Cipher.ENCRYPT_MODE, pair.getPublic());
        byte[] secret = cipher.doFinal("secret".getBytes(StandardCharsets.UTF_8));
        cipher.init(Cipher.DECRYPT_MODE, pair.getPrivate());
        var ed = KeyPairGenerator.getInstance("Ed25519").generateKeyPair();
        return new String(cipher.doFinal(secret), StandardCharsets.UTF_8) + " " + ed.getPublic().getAlgorithm()
                + " " + (Security.getProviders().length > 8);
    }

    /** How many authorities the runtime trusts by default. */
    private static String trust(Map<String, String> q) throws Exception {
        var tmf = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        tmf.init((KeyStore) null);
        return String.valueOf(Arrays.stream(tmf.getTrustManagers())
                .mapToInt(m -> ((X509TrustManager) m).getAcceptedIssuers().length).sum() > 50);
    }

    private static String management(Map<String, String> q) throws Exception {
        var server = ManagementFactory.getPlatformMBeanServer();
        return server.getMBeanCount() > 10 && ManagementFactory.getRuntimeMXBean().getVmName().contains("OpenJDK") ? "managed" : "";
    }

    private static String prefs(Map<String, String> q) throws Exception {
        var node = java.util.prefs.Preferences.userRoot().node("server");
        node.put("colour", "blue");
        var logger = java.util.logging.Logger.getLogger("server");
        logger.info("preferences written");
        return node.get("colour", "");
    }
}
