# A small service: settings from YAML, a token by OpenSSL, a page by ERB.
require 'erb'
require 'json'
require 'nokogiri'
require 'openssl'
require 'sqlite3'
require 'webrick'
require 'yaml'
require_relative 'more'

settings = YAML.safe_load_file('settings.yaml')
db = SQLite3::Database.new(':memory:')
db.execute('CREATE TABLE visit (name TEXT)')

server = WEBrick::HTTPServer.new(BindAddress: '0.0.0.0', Port: 8080)
server.mount_proc('/page') do |req, res|
  greeting = settings['greetings'].fetch(req.query['lang'] || 'de')
  res['Content-Type'] = 'text/html; charset=utf-8'
  res.body = ERB.new(File.read('page.erb')).result(binding)
end
server.mount_proc('/token') do |req, res|
  db.execute('INSERT INTO visit VALUES (?)', [req.query['name']])
  res['Content-Type'] = 'application/json'
  res.body = JSON.generate(
    token: OpenSSL::HMAC.hexdigest('SHA256', 'key', req.query['name']),
    visits: db.get_first_value('SELECT count(*) FROM visit'),
    title: Nokogiri::HTML(ERB.new(File.read('page.erb')).result_with_hash(settings: settings, greeting: '&')).at('title').text,
  )
end
server.mount_proc('/more') { |req, res| res.body = More.answer(req.query['what']) }
trap('TERM') { server.shutdown }
server.start
