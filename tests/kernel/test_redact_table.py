"""What must be masked, and what must not: one row per form that people really paste.

Every key below is made up. The long ones are put together from parts, so that no secret scanner
mistakes this table for a leak.
"""

import pytest

from claude_mem.kernel.redact import mask_text, mask_text_counted, might_hold_secret

A36 = "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY3z5A"
HEX64 = "0123456789abcdef" * 4
PEM = "-----BEGIN {0}PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\nQb3+/w==\n-----END {0}PRIVATE KEY-----"
JWT = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n"
)
ANT = "sk-ant-" + "api03-" + A36 + "-" + A36
GHP = "ghp" + "_" + A36

# (what it is, input, expected output)
POSITIVES: list[tuple[str, str, str]] = [
    # <private>
    ("private block", "a <private>my salary</private> b", "a [private] b"),
    ("private over lines", "a\n<private>\nx\ny\n</private>\nb", "a\n[private]\nb"),
    ("private unclosed", "keep <private>the rest\nis gone", "keep [private]"),
    ("private nested", "a<private>b<private>c</private>d</private>e", "a[private]e"),
    ("private nested unclosed", "a<private>b<private>c</private>d", "a[private]"),
    ("private upper case", "a <PRIVATE >x</Private> b", "a [private] b"),
    ("private attribute", 'a <private reason="x">y</private> b', "a [private] b"),
    ("private twice", "<private>a</private>b<private>c</private>", "[private]b[private]"),
    ("private escaped", r"a \u003cprivate\u003ex\u003c/private\u003e b", "a [private] b"),
    ("private, Chinese", "前<private>内容</private>后", "前[private]后"),
    # keys with a prefix of their own
    ("anthropic", f"key {ANT} end", "key [masked:anthropic-key] end"),
    ("anthropic in Chinese", f"用{ANT}这个", "用[masked:anthropic-key]这个"),
    ("anthropic after escape", f"\\n{ANT}\\n", "\\n[masked:anthropic-key]\\n"),
    ("openai", "use sk-" + A36 + A36[:12], "use [masked:openai-key]"),
    ("openai project", f"sk-proj-{A36}_{A36}-x.", "[masked:openai-key]."),
    ("openai service", f"(sk-svcacct-{A36})", "([masked:openai-key])"),
    ("openai after escape", f"line\\nsk-{A36}", "line\\n[masked:openai-key]"),
    ("openai in colour", f"\x1b[31msk-{A36}\x1b[0m", "\x1b[31m[masked:openai-key]\x1b[0m"),
    ("openai quoted percent", f"%3Dsk-{A36}", "%3D[masked:openai-key]"),
    (
        "github personal",
        f"git clone https://{GHP}@github.com/a/b",
        "git clone https://[masked:github-token]@github.com/a/b",
    ),
    ("github oauth", f"gho_{A36}", "[masked:github-token]"),
    ("github server", f"ghs_{A36}", "[masked:github-token]"),
    ("github fine", f"github_pat_11ABCDEFG0{A36}_{A36}", "[masked:github-token]"),
    ("aws id", "AKIA" + "IOSFODNN7EXAMPLE", "[masked:aws-key]"),
    ("aws session id", "id=ASIA" + "IOSFODNN7EXAMPLE;", "id=[masked:aws-key];"),
    (
        "aws secret",
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "aws_secret_access_key = [masked:key]",
    ),
    (
        "aws secret json",
        '"SecretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"',
        '"SecretAccessKey": "[masked:key]"',
    ),
    ("google api", "?k=AIza" + A36[:35] + "&x", "?k=[masked:google-key]&x"),
    ("google oauth", "ya29." + A36, "[masked:google-key]"),
    ("google client", "GOCSPX-" + A36[:28], "[masked:google-key]"),
    ("slack bot", "xoxb-" + "123456789012-123456789012-" + A36[:24], "[masked:slack-token]"),
    ("slack app", "xapp-1-A0123-456-" + HEX64, "[masked:slack-token]"),
    (
        "slack webhook",
        "https://hooks.slack.com/services/" + "T0000/B0000/" + A36[:24],
        "https://hooks.slack.com/[masked:webhook]",
    ),
    (
        "discord webhook",
        "https://discord.com/api/webhooks/123456789012345678/" + A36,
        "https://discord.com/api/webhooks/[masked:webhook]",
    ),
    (
        "feishu webhook",
        "https://open.feishu.cn/open-apis/bot/v2/hook/01234567-89ab-cdef-0123-456789abcdef",
        "https://open.feishu.cn/open-apis/bot/v2/hook/[masked:webhook]",
    ),
    ("stripe live", "sk_live_" + A36, "[masked:stripe-key]"),
    ("stripe restricted", "rk_live_" + A36, "[masked:stripe-key]"),
    ("stripe test", "sk_test_" + A36[:24], "[masked:stripe-key]"),
    ("stripe webhook", "whsec_" + A36, "[masked:stripe-key]"),
    ("npm", "npm_" + A36, "[masked:npm-token]"),
    (
        "npmrc",
        "//registry.npmjs.org/:_authToken=npm_" + A36,
        "//registry.npmjs.org/:_authToken=[masked:npm-token]",
    ),
    ("npmrc basic", "_auth=dXNlcjpwYXNzd29yZA==", "_auth=[masked:token]"),
    ("pypi", "pypi-AgEIcHlwaS5vcmc" + A36 * 2, "[masked:pypi-token]"),
    ("own key", "cm_sk_local_" + A36 + "abcdefg", "[masked:claude-mem-key]"),
    ("gitlab", "glpat-" + A36[:20], "[masked:gitlab-token]"),
    ("hugging face", "hf_" + A36[:34], "[masked:huggingface-token]"),
    ("sendgrid", "SG." + A36[:22] + "." + A36 + "abcdefg", "[masked:sendgrid-key]"),
    ("telegram", "123456789:AA" + A36[:33], "[masked:telegram-token]"),
    (
        "azure",
        "AccountName=x;AccountKey=" + A36 + A36 + "==;Suffix=y",
        "AccountName=x;AccountKey=[masked:key];Suffix=y",
    ),
    ("digitalocean", "dop_v1_" + HEX64, "[masked:digitalocean-token]"),
    ("databricks", "dapi" + HEX64[:32], "[masked:databricks-token]"),
    ("alibaba", "LTAI5t" + A36[:18], "[masked:alibaba-key]"),
    ("tencent", "AKID" + A36[:32], "[masked:tencent-key]"),
    ("groq", "gsk_" + A36 + A36[:16], "[masked:api-key]"),
    ("jwt", f"got {JWT}, ok", "got [masked:jwt], ok"),
    ("jwt cut", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3", "[masked:jwt]"),
    ("jwt after escape", f"\\t{JWT}", "\\t[masked:jwt]"),
    # private key blocks
    ("pem", "a\n" + PEM.format("") + "\nb", "a\n[masked:private-key]\nb"),
    ("pem rsa", PEM.format("RSA "), "[masked:private-key]"),
    ("openssh", PEM.format("OPENSSH "), "[masked:private-key]"),
    (
        "pem encrypted",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END RSA PRIVATE KEY-----",
        "[masked:private-key]",
    ),
    (
        "pgp",
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\n\nlQOYBF0x0x0BCADe\n=abcd\n-----END PGP PRIVATE KEY BLOCK-----",
        "[masked:private-key]",
    ),
    (
        "pem escaped",
        '{"private_key": "' + PEM.format("").replace("\n", "\\n") + '\\n"}',
        '{"private_key": "[masked:key]"}',
    ),
    (
        "pem escaped, other name",
        '{"pem": "' + PEM.format("").replace("\n", "\\n") + '"}',
        '{"pem": "[masked:private-key]"}',
    ),
    (
        "pem cut",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSj",
        "[masked:private-key]",
    ),
    ("pem cut early", "-----BEGIN RSA PRIVATE KEY-----\nMIIEvQ", "[masked:private-key]"),
    (
        "pem numbered",
        "1→-----BEGIN PRIVATE KEY-----\n2→MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n3→BKcwggSj",
        "1→[masked:private-key]",
    ),
    (
        "pem end only",
        "ok\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwgg==\n-----END PRIVATE KEY-----\n",
        "ok\n[masked:private-key]\n",
    ),
    # connection strings
    (
        "postgres",
        "postgresql://app:s3cret@db:5432/app",
        "postgresql://app:[masked:password]@db:5432/app",
    ),
    ("odd password", "postgres://u:p@ss/w:rd@host/db", "postgres://u:[masked:password]@host/db"),
    (
        "Chinese password",
        "mysql://root:密码一二@10.0.0.1:3306/x",
        "mysql://root:[masked:password]@10.0.0.1:3306/x",
    ),
    ("redis, no user", "redis://:hunter2@cache:6379/0", "redis://:[masked:password]@cache:6379/0"),
    ("digits", "redis://:123456@cache", "redis://:[masked:password]@cache"),
    ("http", "https://bob:hunter2@example.com/x", "https://bob:[masked:password]@example.com/x"),
    (
        "mongo",
        "mongodb+srv://u:p%40ss@c0.example.net/?w=1",
        "mongodb+srv://u:[masked:password]@c0.example.net/?w=1",
    ),
    ("user with @", "mysql://app@tenant:pw1@h/db", "mysql://app@tenant:[masked:password]@h/db"),
    (
        "two in a row",
        "amqp://a:b1@h,amqp://c:d1@h",
        "amqp://a:[masked:password]@h,amqp://c:[masked:password]@h",
    ),
    (
        "go driver",
        "root:hunter2@tcp(127.0.0.1:3306)/db",
        "root:[masked:password]@tcp(127.0.0.1:3306)/db",
    ),
    (
        "ado",
        "Server=db;User Id=sa;Password=P@ssw0rd!;Encrypt=no",
        "Server=db;User Id=sa;Password=[masked:password];Encrypt=no",
    ),
    # headers
    (
        "bearer",
        "Authorization: Bearer abc123def456ghi789",
        "Authorization: Bearer [masked:bearer-token]",
    ),
    (
        "bearer letters",
        "Authorization: Bearer abcdefghijklmnop",
        "Authorization: Bearer [masked:authorization]",
    ),
    ("basic", "Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [masked:authorization]"),
    (
        "curl header",
        "curl -H 'Authorization: token abcdef0123456789' u",
        "curl -H 'Authorization: token [masked:authorization]' u",
    ),
    (
        "header json",
        '{"Authorization": "Bearer abcdefghijklmnop"}',
        '{"Authorization": "Bearer [masked:authorization]"}',
    ),
    ("raw header", "authorization: abcdef0123456789", "authorization: [masked:authorization]"),
    ("cookie", "Cookie: sid=abc123; theme=dark\nHost: x", "Cookie: [masked:cookie]\nHost: x"),
    ("set-cookie", "Set-Cookie: sid=abc123; Path=/", "Set-Cookie: [masked:cookie]"),
    ("api key header", "X-Api-Key: 0123456789abcdef", "X-Api-Key: [masked:key]"),
    # assignments
    ("env", "DB_PASSWORD=hunter2", "DB_PASSWORD=[masked:password]"),
    ("env, odd chars", "DB_PASSWORD=a,b;c)d&e", "DB_PASSWORD=[masked:password]"),
    ("env letters", "export API_TOKEN=abcdefgh", "export API_TOKEN=[masked:token]"),
    (
        "env before command",
        "PGPASSWORD=hunter2 psql -h db",
        "PGPASSWORD=[masked:password] psql -h db",
    ),
    (
        "docker env",
        "docker run -e MYSQL_ROOT_PASSWORD=toor mysql",
        "docker run -e MYSQL_ROOT_PASSWORD=[masked:password] mysql",
    ),
    ("env suffix", "STRIPE_SECRET_PROD=abc123def", "STRIPE_SECRET_PROD=[masked:secret]"),
    ("short pass", "SMTP_PASS=hunter2", "SMTP_PASS=[masked:password]"),
    (
        "json",
        '{"password": "hunter2", "user": "bob"}',
        '{"password": "[masked:password]", "user": "bob"}',
    ),
    (
        "json escaped",
        r"{\"password\": \"hunter2\", \"u\": 1}",
        r"{\"password\": \"[masked:password]\", \"u\": 1}",
    ),
    (
        "json twice escaped",
        r"\\\"api_key\\\": \\\"abc123def\\\",",
        r"\\\"api_key\\\": \\\"[masked:key]\\\",",
    ),
    ("quote inside", r'"password": "hun\"ter2", "a": 1', '"password": "[masked:password]", "a": 1'),
    (
        "backslash inside",
        '"password": "hunter2\\\\", "a": 1',
        '"password": "[masked:password]", "a": 1',
    ),
    ("unclosed", '"password": "hunter2', '"password": "[masked:password]'),
    (
        "yaml",
        "db:\n  password: hunter2\n  port: 1",
        "db:\n  password: [masked:password]\n  port: 1",
    ),
    ("yaml word", "  password: swordfish\n", "  password: [masked:password]\n"),
    ("yaml secret", "client_secret: abc123def456", "client_secret: [masked:secret]"),
    ("python", 'password = "hunter2"', 'password = "[masked:password]"'),
    ("python typed", 'password: str = "hunter2"', 'password: str = "[masked:password]"'),
    (
        "python optional",
        'api_key: str | None = "abc123def"',
        'api_key: str | None = "[masked:key]"',
    ),
    ("python bytes", "SECRET_KEY = b'abc123def'", "SECRET_KEY = b'[masked:key]'"),
    (
        "python keyword",
        'connect(host="h", password="hunter2")',
        'connect(host="h", password="[masked:password]")',
    ),
    ("python triple", 'password = """hunter2"""', 'password = """[masked:password]"""'),
    (
        "python index",
        "os.environ['DB_PASSWORD'] = 'hunter2'",
        "os.environ['DB_PASSWORD'] = '[masked:password]'",
    ),
    ("comparison", 'if password == "hunter2":', 'if password == "[masked:password]":'),
    ("call", 'user.set_password("hunter2")', 'user.set_password("[masked:password]")'),
    ("js", "const apiKey = 'abc123def456';", "const apiKey = '[masked:key]';"),
    ("go", 'password := "hunter2"', 'password := "[masked:password]"'),
    ("ruby", "'password' => 'hunter2'", "'password' => '[masked:password]'"),
    (
        "properties",
        "spring.datasource.password=hunter2",
        "spring.datasource.password=[masked:password]",
    ),
    ("ini", "password = hunter2", "password = [masked:password]"),
    (
        "sql",
        "CREATE USER bob WITH PASSWORD 'hunter2'",
        "CREATE USER bob WITH PASSWORD '[masked:password]'",
    ),
    ("query", "GET /x?token=abcdef&page=2", "GET /x?token=[masked:token]&page=2"),
    (
        "query 2",
        "https://h/x?a=1&access_token=abc123#f",
        "https://h/x?a=1&access_token=[masked:token]#f",
    ),
    ("flag", "tool --password hunter2 --host h", "tool --password [masked:password] --host h"),
    ("flag =", "tool --api-key=abcdefgh run", "tool --api-key=[masked:key] run"),
    ("mysql", "mysql -u root -p'hunter2' db", "mysql -u root -p'[masked:password]' db"),
    ("mysql bare", "mysqldump -phunter2 db", "mysqldump -p[masked:password] db"),
    ("curl user", "curl -u bob:hunter2 https://x", "curl -u bob:[masked:password] https://x"),
    ("sshpass", "sshpass -p hunter2 ssh h", "sshpass -p [masked:password] ssh h"),
    ("redis-cli", "redis-cli -h x -a hunter2 ping", "redis-cli -h x -a [masked:password] ping"),
    ("prose", "the password is hunter2.", "the password is [masked:password]"),
    ("Chinese", "密码：hunter2", "密码：[masked:password]"),
    ("Chinese full-width =", "密码＝hunter2，端口 22", "密码＝[masked:password]，端口 22"),
    ("Chinese prose", "数据库密码是hunter2，别外传", "数据库密码是[masked:password]，别外传"),
    ("English name, Chinese text", "token：a1b2c3d4，别外传", "token：[masked:token]，别外传"),
    ("English name in prose", "password是hunter2，别外传", "password是[masked:password]，别外传"),
    ("Chinese passphrase", "口令: abc123 登录", "口令: [masked:password] 登录"),
    ("Chinese key", "密钥：abc123def456", "密钥：[masked:key]"),
    # e-mail
    ("e-mail", "mail user@example.com now", "mail use***@example.com now"),
    ("e-mail short", "ab@x.cn a@x.cn", "a***@x.cn ***@x.cn"),
    ("e-mail dotted", "<first.last+tag@mail.example.co.uk>", "<fir***@mail.example.co.uk>"),
    ("e-mail Chinese", "邮箱zhang.san@163.com，谢谢", "邮箱zha***@163.com，谢谢"),
    ("e-mail escaped", "\\nbobby@example.com\\n", "\\nbob***@example.com\\n"),
    ("e-mail json", '{"email":"alice@example.org"}', '{"email":"ali***@example.org"}'),
    ("e-mail github", "1234+bob@users.noreply.github.com", "123***@users.noreply.github.com"),
    # mobile numbers
    ("mobile", "电话13800138000。", "电话138****8000。"),
    ("mobile spaced", "138 0013 8000", "138 **** 8000"),
    ("mobile dashed", "tel:138-0013-8000", "tel:138-****-8000"),
    ("mobile +86", "+86 13912345678", "+86 139****5678"),
    ("mobile +86 tight", "+8613912345678", "+86139****5678"),
    ("mobile json", '{"phone":"19912345678"}', '{"phone":"199****5678"}'),
    ("two mobiles", "13800138000 13912345678", "138****8000 139****5678"),
    ("mobile escaped", "\\n13800138000\\n", "\\n138****8000\\n"),
    # identity cards
    ("id card", "身份证11010519491231002X", "身份证110***********002X"),
    ("id card lower", "11010519491231002x,", "110***********002x,"),
    ("id card digits", "440524188001010014", "440***********0014"),
    ("old id card", "身份证号：130503670401001", "身份证号：130********1001"),
    # bank cards
    ("visa", "4111111111111111", "****1111"),
    ("visa spaced", "card 4111 1111 1111 1111 exp", "card ****1111 exp"),
    ("visa dashed", "4111-1111-1111-1111", "****1111"),
    ("mastercard", "5555555555554444", "****4444"),
    ("amex", "3782 822463 10005", "****0005"),
    ("unionpay 16", "6200000000000005", "****0005"),
    ("unionpay 19", "卡号6217000000000000004", "卡号****0004"),
]

# (what it is, text that must come out unchanged)
NEGATIVES: list[tuple[str, str]] = [
    # numbers that are nobody's
    ("git hash", "commit 1380013800013912345678901234567890123456"),
    ("git hash mixed", "4111111111111111a9b8c7d6e5f4a3b2c1d0e9f8"),
    ("sha-256", "sha256:" + HEX64),
    ("md5", "d41d8cd98f00b204e9800998ecf8427e"),
    ("uuid", "550e8400-e29b-41d4-a716-446655440000"),
    ("uuid of digits", "13800138-0013-4111-8111-111111111111"),
    ("epoch seconds", "1700000000"),
    ("epoch ms", "1700000000000"),
    ("epoch us", "1700000000000000"),
    ("epoch ns", "1700000000000000000"),
    ("float", "0.13800138000"),
    ("pi", "3.14159265358979323846"),
    ("float with card", "4.4111111111111111"),
    ("version", "1.2.13800138000"),
    ("ip", "192.168.100.200:13800"),
    ("snowflake", "1234567890123456789"),
    ("isbn", "978-7-111-40772-0 9787111407720"),
    ("line table", "138 0013 8000 1 2 3"),
    ("wc", "  1380   13800  138001 total"),
    ("long run", "91380013800091380013800091380013800"),
    ("in a word", "id_13800138000 x13800138000y"),
    ("bytes", "size: 15032385536 bytes"),
    ("bytes json", '"length":13958643712'),
    ("landline", "010-12345678"),
    ("not a prefix", "12345678901"),
    ("bad luhn", "4111111111111112"),
    ("bad iin", "9111111111111111"),
    ("bad check digit", "110105194912310021"),
    ("bad date", "110105194913310021"),
    ("old id, no label", "130503670401001"),
    ("date time", "2024-01-02 13:04:05 20240102130405"),
    (
        "base64 image",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
    ),
    ("hex dump", "00000010: 1380 0138 0001 3800 1380 0013 8000 1380"),
    # e-mail look-alikes
    ("ssh remote", "git@github.com:owner/repo.git"),
    ("scoped package", "@scope/pkg@1.2.3 and vue@3.0.0-beta.rc"),
    ("package", "lodash@4.17.21 react@latest"),
    ("decorator", "@app.route\n@pytest.mark.slow\ndef f(): ..."),
    ("noreply", "Co-Authored-By: Bot <noreply@example.com>"),
    ("retina image", "logo@2x.png"),
    ("unit", "user@1000.service getty@tty1.service"),
    ("matrix", "y = W@x.T + a@self.weight"),
    ("stack frame", "fn@app.js:10:5"),
    ("handle", "thanks @alice and @bob.smith"),
    # assignments that hold no secret
    ("none", "password=None"),
    ("call", "token = get_token()"),
    ("method call", "token = self.client.get_token(scope)"),
    ("await", "const token = await getToken();"),
    ("type", "def f(password: str, token: Optional[str] = None):"),
    ("type ts", "interface A { password: string; token?: string }"),
    ("variable", "curl -d token=$TOKEN"),
    ("braces", "PASSWORD=${DB_PASSWORD}"),
    ("command", "TOKEN=$(cat token.txt)"),
    ("stars", "password=***"),
    ("xxx", "api_key=xxxxxxxx"),
    ("index", 'token = os.environ["TOKEN"]'),
    ("angle", 'api_key: "<your-token>"'),
    ("your", 'api_key="your-api-key"'),
    ("empty", 'password="" token='),
    ("env name", "process.env.API_TOKEN"),
    ("attribute", "password=self.password, token=args.token)"),
    ("same name", "login(user=user, password=password)"),
    ("template", "password: {{ db_password }}"),
    ("percent", "password=%s"),
    ("masked", "password=[masked:password]"),
    ("f-string", 'headers = {"Authorization": f"Bearer {token}"}'),
    ("js template", "Authorization: `Bearer ${token}`"),
    ("count", "token_count=123456 max_tokens: 4096 input_tokens: 12345678"),
    ("ids", "tool_use_id: toolu_01A2b3C4d5 session_token_budget=200000"),
    ("tokens used", "used 12345678 tokens: 12000000"),
    ("tokenizer", "tokenizer = AutoTokenizer.from_pretrained('gpt2')"),
    ("pad token", 'pad_token="<pad>" eos_token = "</s-end>"'),
    ("unexpected token", "SyntaxError: Unexpected token '}' at 3"),
    ("prose", "Password: must be at least 8 characters"),
    ("prose 2", "token: the part of the text that was found"),
    ("prose 3", "the secret is to test early"),
    ("flag prose", "use --token to pass one, --password is required"),
    ("flag meta", "--token TOKEN --password PASSWORD"),
    ("passing", "pass: 12 fail: 3, bypass=1 compass: north"),
    ("key", "key=value primary_key=True keyword: abc123def"),
    ("path", "PWD=/home/bob/project OLDPWD=/tmp"),
    ("key path", "private_key = '~/.ssh/id_ed25519' token: /var/run/secrets/token"),
    ("hash", "password_hash = 'abc' token_type: bearer secret_name=db"),
    ("prompt", 'getpass.getpass("Password: ")'),
    ("fetch", "credentials: 'include'"),
    ("author", "author: bob123456 authority=abc123"),
    ("authorization prose", "Authorization: we decided to use roles"),
    ("bearer prose", "bearer authentication is used"),
    ("cookie prose", "cookie: the browser sends it back"),
    ("Chinese prose", "密码：必填，不能为空"),
    ("Chinese prose 2", "密码是用来登录的"),
    ("Chinese after an English name", "token：请在2024年前更新 secret是由32位字符组成的"),
    ("Chinese in the environment", "API_KEY=请填写你的密钥1 TOKEN=令牌"),
    ("Chinese placeholder", "密码：<你的密码> 密钥：$KEY"),
    ("jinja", "token: ${{ secrets.GITHUB_TOKEN }}"),
    ("arn", "arn:aws:secretsmanager:us-west-2:123456789012:secret:Db-a1b2c3"),
    ("field name", '"output_token": "NextToken", "token": "access_token"'),
    ("colour", "Token: '#d0d0d0'"),
    ("regex", 'token = r"[a-z]+[^0-9]*"'),
    ("auth call", 'headers["Authorization"] = self.build_header(\n    "x1"'),
    ("unpacking", "username, password = value"),
    ("lookup", 'find_user_pass("c", "http://example.com/bar")'),
    ("bare path and bare url", "token: ./token.txt secret = https://example.com/s1"),
    # addresses without a password
    ("url port", "http://localhost:8080/@vite/client"),
    ("url port 2", "see http://db:5432, mail @bob"),
    ("ipv6", "http://[::1]:8080/@fs/x"),
    ("url user", "https://bob@example.com/x"),
    ("ssh url", "ssh://git@github.com/owner/repo"),
    ("dsn variable", "postgres://app:${DB_PASSWORD}@db/app"),
    ("dsn placeholder", "postgres://user:<password>@host"),
    ("url time", "https://example.com/a:b/c"),
    # prefixes in other words
    ("kebab", "sk-loading-spinner-container-wide"),
    ("task", "task-0123456789-abcdefghij-0123456789"),
    ("test name", "def desk_test_abcdefghijklmnop(): ..."),
    ("npm config", "npm_config_registry=https://r npm_lifecycle_event"),
    ("hf module", "hf_hub_download hf_transfer"),
    ("jwt word", "eyJ is how a JWT starts"),
    (
        "pem public",
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A\n-----END PUBLIC KEY-----",
    ),
    (
        "pem certificate",
        "-----BEGIN CERTIFICATE-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOC\n-----END CERTIFICATE-----",
    ),
    ("private word", "private: List<private_t> a; private void f() {}"),
    ("closing tag", "a</private>b"),
    ("mysql prompt", "mysql -u root -p db; mysql -P 3306"),
    ("curl data", "curl -u $USER:$PASS https://x"),
    ("code", "for key, value in items.items():\n    tokens[key] = value\n"),
]


def test_the_table_is_large_enough() -> None:
    assert len(POSITIVES) + len(NEGATIVES) >= 120


@pytest.mark.parametrize(
    ("text", "expected"), [p[1:] for p in POSITIVES], ids=[p[0] for p in POSITIVES]
)
def test_masks(text: str, expected: str) -> None:
    masked, counts = mask_text_counted(text)
    assert masked == expected
    assert sum(counts.values()) >= 1
    assert might_hold_secret(text)
    assert mask_text(masked) == masked


@pytest.mark.parametrize("text", [n[1] for n in NEGATIVES], ids=[n[0] for n in NEGATIVES])
def test_leaves(text: str) -> None:
    assert mask_text_counted(text) == (text, {})
