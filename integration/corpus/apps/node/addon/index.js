'use strict';
module.exports = require('./gauge.node');
